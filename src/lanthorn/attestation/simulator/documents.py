"""The simulated vendor's TCB info and QE identity, as exact text ready for signing.

Source: Intel PCS API v4, TCB info version 3 and enclave identity version 2.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from lanthorn.attestation.simulator.settings import ISV_LEVELS, TCB_LEVELS

FMSPC = bytes.fromhex("50ad00000000")
PCE_ID = bytes(2)
PCE_SVN = 13
COMPONENTS = 16
TCB_EVALUATION_DATA_NUMBER = 18
TCB_DATE = "2026-01-01T00:00:00Z"
TDX_MODULE_VERSION = 1
QE_MRSIGNER = {"sgx": bytes.fromhex("51" * 32), "tdx": bytes.fromhex("7d" * 32)}
QE_PROD_ID = {"sgx": 1, "tdx": 2}
QE_ATTRIBUTES = bytes.fromhex("1100000000000000e700000000000000")
MODULE_MRSIGNER = bytes(48)
DOCUMENT_IDS = {"sgx": ("SGX", "QE"), "tdx": ("TDX", "TD_QE")}


def component_svns(status: str) -> tuple[int, ...]:
    """Return the 16 SGX component versions of a platform that has `status`."""
    return (TCB_LEVELS[status], 3, 2, *([0] * (COMPONENTS - 3)))


def tcb_info(tee: str, issued: datetime, expires: datetime) -> str:
    """Return the TCB info of the one simulated platform family."""
    info = _envelope(DOCUMENT_IDS[tee][0], 3, issued, expires) | {
        "fmspc": FMSPC.hex(),
        "pceId": PCE_ID.hex(),
        "tcbType": 0,
    }
    if tee == "tdx":
        signer = {
            "mrsigner": MODULE_MRSIGNER.hex(),
            "attributes": "00" * 8,
            "attributesMask": "FF" * 8,
        }
        identity = {"id": f"TDX_{TDX_MODULE_VERSION:02X}", **signer, "tcbLevels": _isv_levels("3")}
        info |= {"tdxModule": signer, "tdxModuleIdentities": [identity]}
    info["tcbLevels"] = [_platform_level(tee, status) for status in TCB_LEVELS]
    return json.dumps(info, separators=(",", ":"))


def qe_identity(tee: str, issued: datetime, expires: datetime) -> str:
    """Return the identity of the simulated quoting enclave."""
    identity = _envelope(DOCUMENT_IDS[tee][1], 2, issued, expires) | {
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": "11" + "00" * 15,
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": QE_MRSIGNER[tee].hex().upper(),
        "isvprodid": QE_PROD_ID[tee],
        "tcbLevels": _isv_levels("2"),
    }
    return json.dumps(identity, separators=(",", ":"))


def _envelope(name: str, version: int, issued: datetime, expires: datetime) -> dict[str, Any]:
    return {
        "id": name,
        "version": version,
        "issueDate": f"{issued:%Y-%m-%dT%H:%M:%SZ}",
        "nextUpdate": f"{expires:%Y-%m-%dT%H:%M:%SZ}",
        "tcbEvaluationDataNumber": TCB_EVALUATION_DATA_NUMBER,
    }


def _platform_level(tee: str, status: str) -> dict[str, Any]:
    components = [{"svn": svn} for svn in component_svns(status)]
    tcb: dict[str, Any] = {"sgxtcbcomponents": components, "pcesvn": PCE_SVN}
    if tee == "tdx":
        tcb["tdxtcbcomponents"] = [{"svn": svn} for svn in (ISV_LEVELS["UpToDate"], 0, 2, *([0] * 13))]
    return _level(tcb, status, "1")


def _isv_levels(series: str) -> list[dict[str, Any]]:
    return [_level({"isvsvn": svn}, status, series) for status, svn in ISV_LEVELS.items()]


def _level(tcb: dict[str, Any], status: str, series: str) -> dict[str, Any]:
    level: dict[str, Any] = {"tcb": tcb, "tcbDate": TCB_DATE, "tcbStatus": status}
    if status != "UpToDate":
        level["advisoryIDs"] = [f"SIMULATED-SA-{series}{list(TCB_LEVELS).index(status):04d}"]
    return level
