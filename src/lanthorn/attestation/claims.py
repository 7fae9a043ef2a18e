"""What a verifier found evidence to say. `Claims` exist only if a verifier made them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

# Intel TDX Module 1.5 base specification, ATTRIBUTES: bits 7:0 (TUD) are all "TD under debug".
TD_ATTRIBUTE_SEPT_VE_DISABLE = 1 << 28
TD_ATTRIBUTE_MIGRATABLE = 1 << 29


@dataclass(frozen=True)
class SGXClaims:
    """The fields of an enclave's report (Intel SDM vol. 3D, REPORT structure)."""

    mrenclave: bytes
    mrsigner: bytes
    isv_prod_id: int
    isv_svn: int
    attributes: bytes
    xfrm: bytes
    misc_select: bytes
    config_id: bytes
    config_svn: int
    isv_family_id: bytes
    isv_ext_prod_id: bytes
    cpu_svn: bytes


@dataclass(frozen=True)
class TDXClaims:
    """The fields of a TD's report (Intel TDX DCAP quote version 4); TDX 1.0 bodies have no `mrservicetd`."""

    mrtd: bytes
    rtmrs: tuple[bytes, bytes, bytes, bytes]
    mrconfigid: bytes
    mrowner: bytes
    mrownerconfig: bytes
    mrseam: bytes
    mrsignerseam: bytes
    seam_attributes: bytes
    mrservicetd: bytes | None
    td_attributes: bytes
    xfam: bytes
    tee_tcb_svn: bytes

    @cached_property
    def _attribute_bits(self) -> int:
        return int.from_bytes(self.td_attributes, "little")

    @property
    def sept_ve_disable(self) -> bool:
        """Whether the TD refuses pages that the host takes away and gives back (it should)."""
        return bool(self._attribute_bits & TD_ATTRIBUTE_SEPT_VE_DISABLE)

    @property
    def migratable(self) -> bool:
        """Whether a migration TD may move this TD to another machine."""
        return bool(self._attribute_bits & TD_ATTRIBUTE_MIGRATABLE)


@dataclass(frozen=True)
class Shortfall:
    """One security version that is below the newest level the vendor published."""

    component: str
    found: int
    newest: int

    def __str__(self) -> str:
        gap = self.newest - self.found
        return f"{self.component} is {gap} behind: newest {self.newest}, found {self.found}"


@dataclass(frozen=True)
class TCBPart:
    """The status of one part of the TCB: "platform", "quoting enclave" or "TDX module"."""

    part: str
    status: str
    tcb_date: str
    advisories: tuple[str, ...]
    behind: tuple[Shortfall, ...]


@dataclass(frozen=True)
class Claims:
    """What genuine evidence says. Made only by a verifier, after every check of `verifier.dcap` held.

    `simulated` and `anchor` follow from the root key that verified the evidence, never from a name inside it.
    `tcb_status` is the worst of `tcb`. `earliest_expiration` is the first moment at which any certificate,
    revocation list or signed document that was used is no longer valid.
    """

    tee: str
    simulated: bool
    anchor: str
    debug: bool
    report_data: bytes
    tcb_status: str
    advisories: tuple[str, ...]
    tcb_evaluation_data_number: int
    fmspc: str
    ppid: bytes
    platform_instance_id: bytes | None
    tcb: tuple[TCBPart, ...]
    earliest_expiration: datetime
    sgx: SGXClaims | None = None
    tdx: TDXClaims | None = None
