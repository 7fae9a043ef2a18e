"""Node 0: parse its header, decrypt and build its metadata, and name its version.

Version 2 is read and written, version 1 only read. Not authenticated by the format, and so: `minor_version`
and the padding are ignored; flags must be zero to open a file. Knows nothing of the nodes behind.
"""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass, field
from typing import Final

from lanthorn.errors import FormatError, IntegrityError
from lanthorn.keys import WrapKey
from lanthorn.protected._crypto import BadNodeError, Random, decrypt_one, encrypt_one, metadata_key
from lanthorn.protected._layout import ENTRY, HEAD, KEY, MAX_FILE_SIZE, NODE, TAG
from lanthorn.protected.paths import check_embedded_path

FILE_ID: Final = b"GRAFS_PF"
MAJOR_VERSION: Final = 2
FLAG_PENDING_WRITE: Final = 1
VERSION_BYTES: Final = 3943
_HEADER: Final = struct.Struct("<8sBB32s16s")
_FLAGS_OFFSET: Final = _HEADER.size
_ENCRYPTED: Final = struct.Struct(f"<772sQ{ENTRY}s{HEAD}s")
_NONCE_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Header:
    """What node 0 says without a key. Nothing of it is authenticated on its own."""

    major_version: int
    minor_version: int
    flags: int
    nonce: bytes
    tag: bytes
    cipher_offset: int
    version_id: str


@dataclass(frozen=True, slots=True)
class Metadata:
    """What node 0 says with the key: authentic. `head` is cut at `size`."""

    path: str
    size: int
    root_entry: bytes = field(repr=False)
    head: bytes = field(repr=False)


def version_id(node0: bytes) -> str:
    """Return the version id: SHA-256 of bytes 0 to 3942 of node 0. Every change of the file changes it."""
    return hashlib.sha256(node0[:VERSION_BYTES]).hexdigest()


def parse_header(node0: bytes, name: str) -> Header:
    """Read the plaintext part of node 0. `name` is for messages. Raises `FormatError`."""
    if len(node0) < NODE:
        raise FormatError(f"{name} is not a protected file: expected at least {NODE} bytes, got {len(node0)}")
    file_id, major, minor, nonce, tag = _HEADER.unpack_from(node0)
    if file_id != FILE_ID:
        raise FormatError(f"{name} is not a protected file: it does not begin with {FILE_ID.decode()}")
    if major not in (1, MAJOR_VERSION):
        raise FormatError(f"{name} has an unknown format: expected version 1 or 2, got {major}")
    flagged = major == MAJOR_VERSION
    flags = node0[_FLAGS_OFFSET] if flagged else 0
    return Header(major, minor, flags, nonce, tag, _FLAGS_OFFSET + flagged, version_id(node0))


def _check_flags(flags: int, name: str) -> None:
    if flags & FLAG_PENDING_WRITE:
        raise IntegrityError(
            f"{name} has a write pending: it was written to without a clean close",
            hint="recover it with Gramine first (a mount with enable_recovery)",
        )
    if flags:
        raise FormatError(f"{name} has unknown feature flags: expected 0x00, got {flags:#04x}")


def open_metadata(node0: bytes, header: Header, key: WrapKey, name: str) -> Metadata:
    """Decrypt and check the metadata. Raises `IntegrityError`, or `FormatError` for unknown flags."""
    _check_flags(header.flags, name)
    cipher = node0[header.cipher_offset : header.cipher_offset + _ENCRYPTED.size]
    try:
        plain = decrypt_one(metadata_key(key.raw, header.nonce), header.tag, cipher)
    except BadNodeError as error:
        raise IntegrityError(f"cannot decrypt {name}: wrong key, or its first node was changed") from error
    raw_path, size, root_entry, head = _ENCRYPTED.unpack(plain)
    if size > MAX_FILE_SIZE:
        raise FormatError(f"{name} is over a limit: expected at most {MAX_FILE_SIZE} bytes, got {size}")
    return Metadata(_parse_path(raw_path, name), size, root_entry, head[:size])


def _parse_path(raw: bytes, name: str) -> str:
    path, nul, rest = raw.partition(b"\0")
    if not nul or rest.strip(b"\0"):
        raise FormatError(f"{name} has an embedded path that is not zero-terminated and zero-padded")
    try:
        return path.decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"{name} has an embedded path that is not UTF-8") from error


def build_node0(metadata: Metadata, key: WrapKey, random: Random = os.urandom) -> bytes:
    """Encrypt metadata under a fresh nonce, hence a fresh key, and return node 0 in version 2."""
    path = check_embedded_path(metadata.path).encode()
    plain = _ENCRYPTED.pack(path, metadata.size, metadata.root_entry, metadata.head)
    nonce = random(_NONCE_BYTES)
    cipher, tag = encrypt_one(metadata_key(key.raw, nonce), plain)
    header = _HEADER.pack(FILE_ID, MAJOR_VERSION, 0, nonce, tag)
    return (header + b"\0" + cipher).ljust(NODE, b"\0")


assert _ENCRYPTED.size == 3884 and KEY + TAG == ENTRY  # noqa: S101 - the format's own arithmetic
