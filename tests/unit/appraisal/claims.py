"""Claims to appraise: real Intel ones by hand (a verifier made none of these), and small policies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from lanthorn.attestation.claims import Claims, SGXClaims, TCBPart, TDXClaims
from lanthorn.attestation.evidence import rtmr3_for_lock

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
REPORT_DATA = bytes(range(64))
LOCK, OTHER_LOCK = b"\x11" * 32, b"\x22" * 32
MRTD, RTMR0, RTMR1, RTMR2 = (bytes([value]) * 48 for value in (0xA0, 0xA1, 0xA2, 0xA3))
MRENCLAVE = b"\x5e" * 32

IMAGE = f"""
[[rule.images]]
mrtd = "{MRTD.hex()}"
rtmr0 = "{RTMR0.hex()}"
rtmr1 = "{RTMR1.hex()}"
rtmr2 = "{RTMR2.hex()}"
"""
REAL = (
    f"""
version = 1
[[rule]]
name = "real"
locks = ["{LOCK.hex()}"]
tees = ["tdx"]
anchors = ["intel"]
tcb_statuses = ["UpToDate", "SWHardeningNeeded"]
advisories = ["INTEL-SA-00615"]
minimum_tcb_evaluation_data_number = 17
"""
    + IMAGE
)
SGX = f"""
version = 1
[[rule]]
name = "enclave"
locks = ["{LOCK.hex()}"]
tees = ["sgx"]
anchors = ["intel"]
tcb_statuses = ["UpToDate"]
mrenclave = ["{MRENCLAVE.hex()}"]
"""


def tdx_claims(td: dict[str, Any] | None = None, **changes: Any) -> Claims:
    body = {
        "mrtd": MRTD,
        "rtmrs": (RTMR0, RTMR1, RTMR2, rtmr3_for_lock(LOCK)),
        "mrconfigid": bytes(48),
        "mrowner": bytes(48),
        "mrownerconfig": bytes(48),
        "mrseam": bytes(48),
        "mrsignerseam": bytes(48),
        "seam_attributes": bytes(8),
        "mrservicetd": None,
        "td_attributes": bytes.fromhex("0000001000000000"),
        "xfam": bytes(8),
        "tee_tcb_svn": bytes(16),
    }
    return _claims("tdx", changes, tdx=TDXClaims(**(body | (td or {}))))


def sgx_claims(enclave: dict[str, Any] | None = None, **changes: Any) -> Claims:
    body = {
        "mrenclave": MRENCLAVE,
        "mrsigner": bytes(32),
        "isv_prod_id": 0,
        "isv_svn": 0,
        "attributes": bytes(8),
        "xfrm": bytes(8),
        "misc_select": bytes(4),
        "config_id": bytes(64),
        "config_svn": 0,
        "isv_family_id": bytes(16),
        "isv_ext_prod_id": bytes(16),
        "cpu_svn": bytes(16),
    }
    return _claims("sgx", changes, sgx=SGXClaims(**(body | (enclave or {}))))


def _claims(tee: str, changes: dict[str, Any], **body: Any) -> Claims:
    members: dict[str, Any] = {
        "tee": tee,
        "simulated": False,
        "anchor": "intel",
        "debug": False,
        "report_data": REPORT_DATA,
        "tcb_status": "UpToDate",
        "advisories": (),
        "tcb_evaluation_data_number": 18,
        "fmspc": "50ad00000000",
        "ppid": bytes(16),
        "platform_instance_id": None,
        "tcb": (TCBPart("platform", "UpToDate", "2026-01-01T00:00:00Z", (), ()),),
        "earliest_expiration": NOW + timedelta(days=10),
    }
    return Claims(**(members | changes), **body)
