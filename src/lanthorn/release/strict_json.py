"""JSON from a stranger: bounded in size and depth, no duplicate names, no unknown or missing members.

Reference: RFC 8259; the bounds are ours.
"""

from __future__ import annotations

import base64
import json
from typing import Any, NoReturn

from lanthorn.errors import FormatError

MAX_DEPTH = 16
"""The deepest message of the protocol, an attestation, nests four levels; Trustee's token six."""


def parse_object(data: bytes, *, limit: int, what: str) -> dict[str, Any]:
    """Return the JSON object in `data`.

    Raises `FormatError` above `limit` bytes, below `MAX_DEPTH` levels, for a duplicate name, for NaN and
    Infinity, and for anything but an object.
    """
    if len(data) > limit:
        raise FormatError(f"{what} is larger than the limit of {limit} bytes")
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError as error:
        raise FormatError(f"{what} is nested deeper than {MAX_DEPTH} levels") from error
    except ValueError as error:
        raise FormatError(f"{what} is not strict JSON") from error
    if not isinstance(value, dict):
        raise FormatError(f"{what} is not a JSON object")
    _check_depth(value, what)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate name")
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _check_depth(value: object, what: str) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in _children(node)]
        if not level:
            return
    raise FormatError(f"{what} is nested deeper than {MAX_DEPTH} levels")


def _children(node: object) -> list[Any]:
    """Return the containers directly inside `node`: leaves add no depth."""
    inside = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [child for child in inside if isinstance(child, dict | list)]


def require_members(
    value: dict[str, Any], what: str, *, required: frozenset[str], optional: frozenset[str] = frozenset()
) -> None:
    """Raise `FormatError` unless `value` has every required member and nothing unknown."""
    missing = required - value.keys()
    unknown = value.keys() - required - optional
    if missing:
        raise FormatError(f"{what} lacks {', '.join(sorted(missing))}")
    if unknown:
        raise FormatError(f"{what} has {len(unknown)} unknown member(s)")


def member_string(value: dict[str, Any], name: str, what: str, *, limit: int) -> str:
    """Return the string member `name` of at most `limit` characters. Raises `FormatError` otherwise."""
    text = value.get(name)
    if not isinstance(text, str):
        raise FormatError(f"{what}: {name} is not a string")
    if len(text) > limit:
        raise FormatError(f"{what}: {name} is longer than the limit of {limit} characters")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        # JSON can spell half of a surrogate pair, which has no UTF-8 and so no canonical encoding.
        raise FormatError(f"{what}: {name} is not Unicode text") from error
    return text


def member_object(value: dict[str, Any], name: str, what: str) -> dict[str, Any]:
    """Return the object member `name`. Raises `FormatError` otherwise."""
    inner = value.get(name)
    if not isinstance(inner, dict):
        raise FormatError(f"{what}: {name} is not an object")
    return inner


def b64url_encode(data: bytes) -> str:
    """Encode as base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def b64url_decode(text: str, what: str) -> bytes:
    """Decode base64url without padding; one value has one spelling. Raises `FormatError` otherwise."""
    try:
        data = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except ValueError as error:
        raise FormatError(f"{what} is not base64url") from error
    if b64url_encode(data) != text:
        raise FormatError(f"{what} is not canonical base64url")
    return data
