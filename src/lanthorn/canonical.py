"""Canonical JSON (RFC 8785) and labelled digests: the bytes that get hashed or signed."""

from __future__ import annotations

import hashlib
from typing import Any

import rfc8785

from lanthorn.errors import FormatError


def canonical_json(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """Encode `value` as RFC 8785 JSON. Raises `FormatError` for what JSON cannot hold exactly."""
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, RecursionError) as error:
        raise FormatError(f"value has no canonical encoding: {type(error).__name__}") from error


def labelled_sha256(label: str, data: bytes) -> bytes:
    """Return SHA-256(label || 0x00 || data): a digest for one purpose is never a digest for another."""
    return hashlib.sha256(label.encode("ascii") + b"\0" + data).digest()
