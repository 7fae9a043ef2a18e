"""Which TCB level a platform, its quoting enclave and its TDX module have, what is behind, and by how much.

The level of a part is the newest one whose every version it reaches; the worst part's status is the verdict.
Source: Intel PCS API v4, "determining TCB status" for SGX and TDX.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lanthorn.attestation.claims import Shortfall, TCBPart
from lanthorn.attestation.verifier import steps
from lanthorn.attestation.verifier.documents import STATUSES, Level, ModuleIdentity, QEIdentity, TCBInfo
from lanthorn.attestation.verifier.sgx_extension import PCKExtension
from lanthorn.attestation.verifier.steps import StepFailedError


def platform_part(info: TCBInfo, pck: PCKExtension, tee_tcb_svn: bytes) -> TCBPart:
    """Grade the platform: 16 component versions, the PCE's, and for TDX the TEE's 16 (else pass none).

    The first two TDX components are the module's; where it has levels of its own they are graded there.
    """
    skipped = 2 if tee_tcb_svn and tee_tcb_svn[1] else 0
    levels = [replace(level, tdx_svns=level.tdx_svns[skipped:]) for level in info.levels]
    found = Level(pck.component_svns, pck.pce_svn, tuple(tee_tcb_svn[skipped:]), "", "", ())
    names = (*info.component_names, "PCE", *info.tdx_component_names[skipped:])
    return _grade("platform", levels, found, names)


def qe_part(identity: QEIdentity, isv_svn: int) -> TCBPart:
    """Grade the quoting enclave by its security version."""
    found = Level((isv_svn,), 0, (), "", "", ())
    return _grade("quoting enclave", identity.levels, found, ("quoting enclave ISVSVN",))


def module_part(
    info: TCBInfo, tee_tcb_svn: bytes, mrsignerseam: bytes, seam_attributes: bytes
) -> TCBPart | None:
    """Check who signed the TDX module and grade it; `None` where its level is part of the platform's.

    `tee_tcb_svn[1]` is the module's major version: from 1 on it has an identity "TDX_0n" with its own levels.
    """
    version = tee_tcb_svn[1]
    identity = info.module
    if version:
        wanted = f"TDX_{version:02X}"
        identity = next((each for each in info.module_identities if each.id.upper() == wanted), None)
        if identity is None:
            raise StepFailedError(steps.TCB, f"tcb info knows no tdx module {wanted}")
    if identity is None:
        raise StepFailedError(steps.TCB, "tcb info says nothing about the tdx module")
    _check_module_identity(identity, mrsignerseam, seam_attributes)
    if not identity.levels:
        return None
    found = Level((tee_tcb_svn[0],), 0, (), "", "", ())
    return _grade("TDX module", identity.levels, found, ("TDX module ISVSVN",))


def _check_module_identity(identity: ModuleIdentity, mrsignerseam: bytes, seam_attributes: bytes) -> None:
    if mrsignerseam != identity.mrsigner:
        raise StepFailedError(
            steps.TCB, "signer of the tdx module", expected=identity.mrsigner.hex(), found=mrsignerseam.hex()
        )
    # Bits outside the mask have no meaning yet, so they must be zero.
    expected = bytes(a & m for a, m in zip(identity.attributes, identity.attributes_mask, strict=True))
    if seam_attributes != expected:
        raise StepFailedError(
            steps.TCB, "attributes of the tdx module", expected=expected.hex(), found=seam_attributes.hex()
        )


def worst(parts: Sequence[TCBPart]) -> str:
    """Return the worst status of the parts."""
    return max((part.status for part in parts), key=STATUSES.index)


def _grade(part: str, levels: Sequence[Level], found: Level, names: Sequence[str]) -> TCBPart:
    versions = _versions(found)
    newest = _versions(levels[0])
    behind = tuple(
        Shortfall(name, have, want)
        for name, have, want in zip(names, versions, newest, strict=False)
        if have < want
    )
    for level in levels:
        if all(have >= want for have, want in zip(versions, _versions(level), strict=True)):
            return TCBPart(part, level.status, level.tcb_date, level.advisories, behind)
    oldest = "; ".join(str(each) for each in behind)
    raise StepFailedError(steps.TCB, f"no tcb level matches the {part}: {oldest}")


def _versions(level: Level) -> tuple[int, ...]:
    return (*level.svns, level.pce_svn, *level.tdx_svns)
