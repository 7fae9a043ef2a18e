"""The SGX extension of a PCK certificate: platform family, security versions, platform identity.

Source: Intel SGX PCK Certificate and Certificate Revocation List Profile Specification, section 1.3.5.
A hand-written reader of the few DER types that occur there; anything else is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from lanthorn.errors import FormatError

_SEQUENCE, _OID, _INTEGER, _OCTET_STRING = 0x30, 0x06, 0x02, 0x04
_PREFIX = bytes.fromhex("2a864886f84d010d01")  # 1.2.840.113741.1.13.1
_PPID, _TCB, _PCE_ID, _FMSPC, _PLATFORM_INSTANCE_ID = b"\1", b"\2", b"\3", b"\4", b"\6"
COMPONENTS = 16


@dataclass(frozen=True)
class PCKExtension:
    """What a PCK certificate says of its platform. Single-socket parts have no `platform_instance_id`."""

    ppid: bytes
    component_svns: tuple[int, ...]
    pce_svn: int
    pce_id: bytes
    fmspc: bytes
    platform_instance_id: bytes | None


@lru_cache(maxsize=256)
def parse_pck_extension(der: bytes) -> PCKExtension:
    """Parse the extension's value. Raises `FormatError` for a missing, repeated or ill-formed member."""
    members = _members(der)
    tcb = _members(_required(members, _TCB, "tcb"))
    components = tuple(
        _integer(_required(tcb, _TCB + bytes([number]), f"component {number}"), 0xFF)
        for number in range(1, COMPONENTS + 1)
    )
    instance = members.get(_PLATFORM_INSTANCE_ID)
    return PCKExtension(
        ppid=_octets(_required(members, _PPID, "ppid"), 16),
        component_svns=components,
        pce_svn=_integer(_required(tcb, _TCB + bytes([COMPONENTS + 1]), "pcesvn"), 0xFFFF),
        pce_id=_octets(_required(members, _PCE_ID, "pceid"), 2),
        fmspc=_octets(_required(members, _FMSPC, "fmspc"), 6),
        platform_instance_id=None if instance is None else _octets(instance, 16),
    )


def _required(members: dict[bytes, bytes], key: bytes, name: str) -> bytes:
    try:
        return members[key]
    except KeyError:
        raise FormatError(f"sgx extension: no {name}") from None


def _members(der: bytes) -> dict[bytes, bytes]:
    """Read SEQUENCE OF SEQUENCE {OID, value} into {OID without the common prefix: value with its header}."""
    found: dict[bytes, bytes] = {}
    content = _only(der, _SEQUENCE)
    while content:
        pair, content = _next(content, _SEQUENCE)
        oid, value = _next(pair, _OID)
        key = oid.removeprefix(_PREFIX)
        if len(key) == len(oid) or key in found:
            raise FormatError("sgx extension: unknown or repeated member")
        found[key] = value
    return found


def _next(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """Split a value with the expected tag off the front: its content, and what follows."""
    if len(data) < 2 or data[0] != tag:
        raise FormatError(f"sgx extension: expected DER tag {tag:#x}")
    size, start = data[1], 2
    if size & 0x80:
        count = size & 0x7F
        start, size = 2 + count, int.from_bytes(data[2 : 2 + count], "big")
        if count not in (1, 2) or size < 0x80 or (count == 2 and size < 0x100):
            raise FormatError("sgx extension: not in DER")
    if start + size > len(data):
        raise FormatError("sgx extension: truncated")
    return data[start : start + size], data[start + size :]


def _only(data: bytes, tag: int) -> bytes:
    content, rest = _next(data, tag)
    if rest:
        raise FormatError("sgx extension: trailing bytes")
    return content


def _octets(data: bytes, size: int) -> bytes:
    content = _only(data, _OCTET_STRING)
    if len(content) != size:
        raise FormatError(f"sgx extension: expected {size} bytes, got {len(content)}")
    return content


def _integer(data: bytes, limit: int) -> int:
    content = _only(data, _INTEGER)
    value = int.from_bytes(content, "big", signed=True)
    if not 0 < len(content) <= 3 or not 0 <= value <= limit:
        raise FormatError(f"sgx extension: expected an integer from 0 to {limit}")
    return value
