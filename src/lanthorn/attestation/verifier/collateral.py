"""Collateral: the vendor's endorsements of a platform, as one JSON file of nine text fields.

The container is the one in which the DCAP world passes collateral around: PEM chains as text, revocation
lists and signatures as hex, TCB info and QE identity as the exact text that was signed. Parsing checks shape
and size only; `dcap` checks signatures, windows and meaning.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from typing import Any

from lanthorn.errors import FormatError

MAX_COLLATERAL_SIZE = 8 * 1024 * 1024
MAX_FIELD_SIZE = 4 * 1024 * 1024
RAW_SIGNATURE_SIZE = 64

_HEX = re.compile(r"(?:[0-9a-f]{2})*|(?:[0-9A-F]{2})*")


@dataclass(frozen=True)
class Collateral:
    """One platform family's endorsements, unverified. Chains are PEM, lists DER, documents signed text."""

    pck_crl_issuer_chain: bytes
    root_ca_crl: bytes
    pck_crl: bytes
    tcb_info_issuer_chain: bytes
    tcb_info: str
    tcb_info_signature: bytes
    qe_identity_issuer_chain: bytes
    qe_identity: str
    qe_identity_signature: bytes

    def __post_init__(self) -> None:
        for name in ("tcb_info_signature", "qe_identity_signature"):
            size = len(getattr(self, name))
            if size != RAW_SIGNATURE_SIZE:
                raise FormatError(f"collateral {name}: expected {RAW_SIGNATURE_SIZE} bytes, got {size}")

    @classmethod
    def from_json(cls, text: str | bytes) -> Collateral:
        """Read the nine fields. Raises `FormatError` for a missing, unknown, ill-typed or oversized one."""
        if len(text) > MAX_COLLATERAL_SIZE:
            raise FormatError(f"collateral: larger than the limit of {MAX_COLLATERAL_SIZE} bytes")
        members = strict_json_object(text, "collateral")
        names = {field.name for field in fields(cls)}
        for name in sorted(names ^ members.keys()):
            raise FormatError(f"collateral: {'missing' if name in names else 'unknown'} field {name!r}")
        return cls(**{name: _read_field(name, members[name]) for name in names})

    def to_json(self) -> str:
        """Write the nine fields as `from_json` reads them."""
        members = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bytes):
                value = value.decode("ascii") if field.name in _PEM_FIELDS else value.hex()
            members[field.name] = value
        return json.dumps(members, indent=1)


_PEM_FIELDS = {"pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain"}
_TEXT_FIELDS = {"tcb_info", "qe_identity"}


def _read_field(name: str, value: object) -> Any:  # noqa: ANN401 - bytes or str, by the field's name
    if not isinstance(value, str) or len(value) > MAX_FIELD_SIZE:
        raise FormatError(f"collateral {name}: expected text of at most {MAX_FIELD_SIZE} characters")
    if name in _TEXT_FIELDS:
        return value
    if name in _PEM_FIELDS:
        if not value.isascii():
            raise FormatError(f"collateral {name}: expected ASCII")
        return value.encode("ascii")
    if not _HEX.fullmatch(value):
        raise FormatError(f"collateral {name}: expected hex")
    return bytes.fromhex(value)


def strict_json_object(text: str | bytes, what: str) -> dict[str, Any]:
    """Parse a JSON object. Raises `FormatError` for anything else, repeated names and NaN included."""
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{what}: not JSON ({type(error).__name__})") from error
    if not isinstance(value, dict):
        raise FormatError(f"{what}: expected a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("repeated name")
    return members


def _refuse_constant(name: str) -> None:
    raise ValueError(f"constant {name}")
