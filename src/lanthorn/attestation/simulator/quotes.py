"""Quote bytes: SGX version 3 and TDX version 4, signed by the simulated platform's keys.

Source: Intel SGX ECDSA QuoteGen Reference, appendix A.4; Intel TDX DCAP Quoting Library API, appendix A.3.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from lanthorn.attestation.simulator import documents
from lanthorn.attestation.simulator.keys import VendorKeys, raw_point, sign_raw
from lanthorn.attestation.simulator.settings import ISV_LEVELS, TCB_LEVELS, Settings

QE_VENDOR_ID = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
TEE_TYPES = {"sgx": 0x00000000, "tdx": 0x00000081}
QUOTE_VERSIONS = {"sgx": 3, "tdx": 4}
# Verifiers in the field insist on exactly this size.
QE_AUTH_DATA = hashlib.sha256(b"lanthorn-simulated-qe").digest()
SEPT_VE_DISABLE = 1 << 28
SGX_MODE_64, SGX_DEBUG = 0x04, 0x02


@dataclass(frozen=True)
class Signer:
    """The simulated quoting enclave: its platform's keys, certificate chain and settings."""

    keys: VendorKeys
    pck_chain: bytes
    settings: Settings

    def quote(self, tee: str, body: bytes) -> bytes:
        """Return a complete quote over a report body."""
        attestation_key = self.keys.private("attestation")
        version = QUOTE_VERSIONS[tee]
        header = struct.pack(
            "<HHIHH16s20s",
            version,
            2,
            TEE_TYPES[tee],
            0 if tee == "tdx" else ISV_LEVELS[self.settings.qe],
            0 if tee == "tdx" else documents.PCE_SVN,
            QE_VENDOR_ID,
            bytes(20),
        )
        certification = self._certification(tee, raw_point(attestation_key))
        if version >= 4:
            certification = struct.pack("<HI", 6, len(certification)) + certification
        signature = sign_raw(attestation_key, header + body) + raw_point(attestation_key) + certification
        return header + body + struct.pack("<I", len(signature)) + signature

    def _certification(self, tee: str, attestation_key: bytes) -> bytes:
        bound = hashlib.sha256(attestation_key + QE_AUTH_DATA).digest().ljust(64, b"\0")
        report = enclave_body(
            cpu_svn=bytes(documents.component_svns(self.settings.tcb)),
            attributes=documents.QE_ATTRIBUTES,
            mrenclave=hashlib.sha256(b"lanthorn-simulated-qe-" + tee.encode()).digest(),
            mrsigner=documents.QE_MRSIGNER[tee],
            isv_prod_id=documents.QE_PROD_ID[tee],
            isv_svn=ISV_LEVELS[self.settings.qe],
            report_data=bound,
        )
        signature = sign_raw(self.keys.private("pck"), report)
        auth_data = struct.pack("<H", len(QE_AUTH_DATA)) + QE_AUTH_DATA
        chain = self.pck_chain + b"\0"
        return report + signature + auth_data + struct.pack("<HI", 5, len(chain)) + chain


def enclave_body(
    *,
    cpu_svn: bytes,
    attributes: bytes,
    mrenclave: bytes,
    mrsigner: bytes,
    isv_prod_id: int,
    isv_svn: int,
    report_data: bytes,
) -> bytes:
    """Return an enclave's report body, 384 bytes."""
    return b"".join(
        (
            cpu_svn,
            bytes(32),
            attributes,
            mrenclave,
            bytes(32),
            mrsigner,
            bytes(96),
            struct.pack("<HHH", isv_prod_id, isv_svn, 0),
            bytes(58),
            report_data,
        )
    )


def application_body(settings: Settings, mrenclave: bytes, mrsigner: bytes, report_data: bytes) -> bytes:
    """Return the report of an application's enclave on the simulated platform."""
    flags = 0x01 | SGX_MODE_64 | (SGX_DEBUG if settings.debug else 0)
    return enclave_body(
        cpu_svn=bytes((TCB_LEVELS[settings.tcb], *documents.component_svns(settings.tcb)[1:])),
        attributes=bytes([flags]) + bytes(7) + b"\x07" + bytes(7),
        mrenclave=mrenclave,
        mrsigner=mrsigner,
        isv_prod_id=0,
        isv_svn=0,
        report_data=report_data,
    )


def td_body(settings: Settings, mrtd: bytes, rtmrs: Sequence[bytes], report_data: bytes) -> bytes:
    """Return a TD's report body, 584 bytes."""
    attributes = (SEPT_VE_DISABLE if settings.sept_ve_disable else 0) | (0x01 if settings.debug else 0)
    tee_tcb_svn = bytes([ISV_LEVELS[settings.module], documents.TDX_MODULE_VERSION, 2]) + bytes(13)
    return b"".join(
        (
            tee_tcb_svn,
            hashlib.sha384(b"lanthorn-simulated-seam").digest(),
            documents.MODULE_MRSIGNER,
            bytes(8),
            attributes.to_bytes(8, "little"),
            bytes.fromhex("e702060000000000"),
            mrtd,
            bytes(3 * 48),
            *rtmrs,
            report_data,
        )
    )
