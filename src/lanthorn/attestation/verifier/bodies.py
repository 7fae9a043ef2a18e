"""The two report bodies that quotes carry: an enclave's (384 bytes) and a TD's (584 bytes).

Source: Intel SDM vol. 3D, REPORT; Intel TDX DCAP Quoting Library API, TD quote body. Reserved fields must be
zero and unknown attribute bits clear: what a verifier does not understand it cannot grade.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from lanthorn.attestation.claims import SGXClaims, TDXClaims
from lanthorn.attestation.verifier import steps
from lanthorn.attestation.verifier.steps import StepFailedError

_ENCLAVE = struct.Struct("<16s4s12s16s8s8s32s32s32s32s64sHHH42s16s64s")
_TD = struct.Struct("<16s48s48s8s8s8s48s48s48s48s48s48s48s48s64s")

_SGX_DEBUG = 0x02
_TD_UNDER_DEBUG = 0xFF
# Known TD attributes: TUD (7:0), SEPT_VE_DISABLE 28, MIGRATABLE 29, PKS 30, KL 31, PERFMON 63.
_TD_KNOWN_ATTRIBUTES = _TD_UNDER_DEBUG | 0xF << 28 | 1 << 63


@dataclass(frozen=True)
class EnclaveReport:
    claims: SGXClaims
    report_data: bytes
    debug: bool


@dataclass(frozen=True)
class TDReport:
    claims: TDXClaims
    report_data: bytes
    debug: bool


def parse_enclave_report(body: bytes) -> EnclaveReport:
    """Read an enclave's report. Raises `StepFailedError` (claims) if a reserved field is not zero."""
    (
        cpu_svn,
        misc_select,
        reserved1,
        isv_ext_prod_id,
        attributes,
        xfrm,
        mrenclave,
        reserved2,
        mrsigner,
        reserved3,
        config_id,
        isv_prod_id,
        isv_svn,
        config_svn,
        reserved4,
        isv_family_id,
        report_data,
    ) = _ENCLAVE.unpack(body)
    if any(reserved1 + reserved2 + reserved3 + reserved4):
        raise StepFailedError(steps.CLAIMS, "reserved fields of the enclave report are not zero")
    claims = SGXClaims(
        mrenclave=mrenclave,
        mrsigner=mrsigner,
        isv_prod_id=isv_prod_id,
        isv_svn=isv_svn,
        attributes=attributes,
        xfrm=xfrm,
        misc_select=misc_select,
        config_id=config_id,
        config_svn=config_svn,
        isv_family_id=isv_family_id,
        isv_ext_prod_id=isv_ext_prod_id,
        cpu_svn=cpu_svn,
    )
    return EnclaveReport(claims, report_data, debug=bool(attributes[0] & _SGX_DEBUG))


def parse_td_report(body: bytes) -> TDReport:
    """Read a TD's report. Any bit of the first attribute byte is debug; unknown bits are refused (claims)."""
    (
        tee_tcb_svn,
        mrseam,
        mrsignerseam,
        seam_attributes,
        td_attributes,
        xfam,
        mrtd,
        mrconfigid,
        mrowner,
        mrownerconfig,
        *rtmrs,
        report_data,
    ) = _TD.unpack(body)
    bits = int.from_bytes(td_attributes, "little")
    if bits & ~_TD_KNOWN_ATTRIBUTES:
        unknown = f"{bits & ~_TD_KNOWN_ATTRIBUTES:#x}"
        raise StepFailedError(steps.CLAIMS, "unknown td attribute bits", expected="0x0", found=unknown)
    claims = TDXClaims(
        mrtd=mrtd,
        rtmrs=(rtmrs[0], rtmrs[1], rtmrs[2], rtmrs[3]),
        mrconfigid=mrconfigid,
        mrowner=mrowner,
        mrownerconfig=mrownerconfig,
        mrseam=mrseam,
        mrsignerseam=mrsignerseam,
        seam_attributes=seam_attributes,
        mrservicetd=None,
        td_attributes=td_attributes,
        xfam=xfam,
        tee_tcb_svn=tee_tcb_svn,
    )
    return TDReport(claims, report_data, debug=bool(bits & _TD_UNDER_DEBUG))
