"""Pin a broker by the public key in its certificate, whatever the certificate says of itself.

A pin is "sha256:" and the hex SHA-256 of the DER SubjectPublicKeyInfo (as in RFC 7469, section 2.4).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence

from lanthorn.errors import FormatError

PIN = re.compile(r"sha256:[0-9a-f]{64}")
MAX_PINS = 2
MAX_CERTIFICATE = 64 * 1024

_SEQUENCE, _INTEGER, _VERSION = 0x30, 0x02, 0xA0


def pin_of_spki(spki: bytes) -> str:
    return "sha256:" + hashlib.sha256(spki).hexdigest()


def matches(pin: str, allowed: Sequence[str]) -> bool:
    """Compare with every allowed pin in constant time; no pins at all match nothing."""
    found = False
    for candidate in allowed:
        found |= hmac.compare_digest(pin.encode("ascii"), candidate.encode("ascii"))
    return found


def spki_of_certificate(der: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo of an X.509 certificate, header included, byte for byte.

    Walks RFC 5280's TBSCertificate by position and refuses all but minimal DER lengths, so there is one
    reading of it. Signature, names and validity are not looked at. Raises `FormatError`. (`cryptography.x509`
    does the same for 19 ms of import on every run.)
    """
    if len(der) > MAX_CERTIFICATE:
        raise FormatError(f"the certificate is larger than the limit of {MAX_CERTIFICATE} bytes")
    start, end = _value(der, 0, len(der), _SEQUENCE)
    if end != len(der):
        raise FormatError("the certificate has trailing bytes")
    position, end = _value(der, start, end, _SEQUENCE)
    if der[position : position + 1] == bytes([_VERSION]):
        position = _value(der, position, end, _VERSION)[1]
    # serialNumber, then signature, issuer, validity and subject
    for tag in (_INTEGER, _SEQUENCE, _SEQUENCE, _SEQUENCE, _SEQUENCE):
        position = _value(der, position, end, tag)[1]
    return der[position : _value(der, position, end, _SEQUENCE)[1]]


def _value(der: bytes, position: int, end: int, tag: int) -> tuple[int, int]:
    """Return where the contents of the element at `position` begin and end."""
    if position + 2 > end or der[position] != tag:
        raise FormatError("the certificate is not X.509")
    length, start = der[position + 1], position + 2
    if length >= 0x80:
        count = length & 0x7F
        digits = der[start : start + count]
        length, start = int.from_bytes(digits, "big"), start + count
        if not 1 <= count <= 3 or len(digits) != count or digits[0] == 0 or length < 0x80:
            raise FormatError("the certificate has a length that is not DER")
    if start + length > end:
        raise FormatError("the certificate is cut short")
    return start, start + length
