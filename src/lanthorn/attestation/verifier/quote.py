"""Take a quote apart: SGX quote version 3 and TDX quote version 4, ECDSA P-256.

Source: Intel SGX ECDSA QuoteGen Reference, appendix A.4; Intel TDX DCAP Quoting Library API, appendix A.3.
Checks structure only, to the last byte: nothing returned from here is authenticated.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from lanthorn.attestation.verifier import steps
from lanthorn.attestation.verifier.steps import StepFailedError

MAX_QUOTE_SIZE = 32 * 1024
MAX_AUTH_DATA_SIZE = 1024
MAX_CERTIFICATE_CHAIN_SIZE = 16 * 1024

HEADER_SIZE = 48
SGX_BODY_SIZE = 384
TDX_BODY_SIZE = 584
SIGNATURE_SIZE = 64
PUBLIC_KEY_SIZE = 64

TEE_SGX, TEE_TDX = 0x00000000, 0x00000081
ECDSA_P256 = 2
INTEL_QE_VENDOR_ID = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
CERTIFICATION_PCK_CHAIN = 5
CERTIFICATION_QE_REPORT = 6
CERTIFICATION_NAMES = {1: "plain PPID", 2: "PPID encrypted, RSA 2048", 3: "PPID encrypted, RSA 3072"}


@dataclass(frozen=True)
class Quote:
    """A quote in parts. `signed` is what the attestation key signs: header and body."""

    tee: str
    version: int
    signed: bytes
    body: bytes
    signature: bytes
    attestation_key: bytes
    qe_report: bytes
    qe_report_signature: bytes
    qe_auth_data: bytes
    pck_chain: bytes


class _Reader:
    """A cursor that refuses to read past the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int, what: str) -> bytes:
        end = self._at + size
        if end > len(self._data):
            found = f"{len(self._data) - self._at}"
            raise StepFailedError(
                steps.QUOTE, f"quote ends inside {what}", expected=f"{size} bytes", found=found
            )
        piece = self._data[self._at : end]
        self._at = end
        return piece

    def number(self, size: int, what: str) -> int:
        return int.from_bytes(self.take(size, what), "little")

    def sized(self, size_bytes: int, limit: int, what: str) -> bytes:
        size = self.number(size_bytes, f"size of {what}")
        if size > limit:
            raise StepFailedError(
                steps.QUOTE, f"{what} too long", expected=f"at most {limit}", found=str(size)
            )
        return self.take(size, what)

    def end(self, what: str) -> None:
        left = len(self._data) - self._at
        if left:
            raise StepFailedError(steps.QUOTE, f"trailing bytes after {what}", expected="0", found=str(left))


def parse_quote(raw: bytes) -> Quote:
    """Take a quote apart. Raises `StepFailedError` for anything but a complete SGX v3 or TDX v4 quote."""
    if len(raw) > MAX_QUOTE_SIZE:
        raise StepFailedError(
            steps.QUOTE, "quote too long", expected=f"at most {MAX_QUOTE_SIZE} bytes", found=str(len(raw))
        )
    reader = _Reader(raw)
    header = reader.take(HEADER_SIZE, "header")
    tee, version = _check_header(header)
    body = reader.take(SGX_BODY_SIZE if tee == "sgx" else TDX_BODY_SIZE, "body")
    section = reader.sized(4, MAX_QUOTE_SIZE, "signature data")
    reader.end("signature data")
    return _parse_signature_section(_Reader(section), tee, version, header + body, body)


def _check_header(header: bytes) -> tuple[str, int]:
    version, key_type, tee_type = struct.unpack_from("<HHI", header)
    if key_type != ECDSA_P256:
        raise StepFailedError(
            steps.QUOTE, "attestation key type", expected="2 (ECDSA P-256)", found=str(key_type)
        )
    if header[12:28] != INTEL_QE_VENDOR_ID:
        raise StepFailedError(
            steps.QUOTE, "qe vendor id", expected=INTEL_QE_VENDOR_ID.hex(), found=header[12:28].hex()
        )
    match (version, tee_type):
        case (3, 0x00):
            return "sgx", version
        case (4, 0x81):
            return "tdx", version
        case _:
            expected = "sgx version 3 or tdx version 4"
            found = f"tee type {tee_type:#x} version {version}"
            raise StepFailedError(steps.QUOTE, "unsupported quote", expected=expected, found=found)


def _parse_signature_section(reader: _Reader, tee: str, version: int, signed: bytes, body: bytes) -> Quote:
    signature = reader.take(SIGNATURE_SIZE, "quote signature")
    attestation_key = reader.take(PUBLIC_KEY_SIZE, "attestation key")
    certification = reader
    if version >= 4:
        _expect_certification(reader.number(2, "certification data type"), CERTIFICATION_QE_REPORT)
        certification = _Reader(reader.sized(4, MAX_QUOTE_SIZE, "certification data"))
        reader.end("certification data")
    qe_report = certification.take(SGX_BODY_SIZE, "qe report")
    qe_report_signature = certification.take(SIGNATURE_SIZE, "qe report signature")
    qe_auth_data = certification.sized(2, MAX_AUTH_DATA_SIZE, "qe authentication data")
    _expect_certification(certification.number(2, "certification data type"), CERTIFICATION_PCK_CHAIN)
    pck_chain = certification.sized(4, MAX_CERTIFICATE_CHAIN_SIZE, "pck certificate chain")
    certification.end("pck certificate chain")
    return Quote(
        tee,
        version,
        signed,
        body,
        signature,
        attestation_key,
        qe_report,
        qe_report_signature,
        qe_auth_data,
        pck_chain,
    )


def _expect_certification(found: int, expected: int) -> None:
    if found == expected:
        return
    name = CERTIFICATION_NAMES.get(found)
    if name is not None:
        raise StepFailedError(
            steps.CERTIFICATION,
            f"quote carries no certificate chain ({name}); its platform must be set up to give type 5",
            expected=str(expected),
            found=str(found),
        )
    raise StepFailedError(
        steps.CERTIFICATION, "certification data type", expected=str(expected), found=str(found)
    )
