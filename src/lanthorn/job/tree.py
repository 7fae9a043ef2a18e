"""Hash trees over 64 KiB chunks: check any chunk of a big file without hashing the whole of it.

The tree is RFC 6962's (section 2.1): a leaf is SHA-256(0x00 || chunk), an inner node SHA-256(0x01 || left ||
right), the left side holds the largest power of two smaller than the number of leaves; an empty file's root
is SHA-256("").
"""

from __future__ import annotations

import hashlib
import os
from typing import NamedTuple

CHUNK = 65536
DIGEST = 32
EMPTY = hashlib.sha256(b"").digest()
_READ = 16 * CHUNK


class Digests(NamedTuple):
    """One file's size, SHA-256, concatenated leaves, and first bytes (enough to know an ELF file)."""

    size: int
    sha256: str
    leaves: bytes
    head: bytes


def leaf_count(size: int) -> int:
    return -(-size // CHUNK)


def leaf(chunk: bytes | memoryview) -> bytes:
    """Return the leaf of one chunk: what a reader compares with its slice of the leaves."""
    digest = hashlib.sha256(b"\0")
    digest.update(chunk)
    return digest.digest()


def leaves_of(data: bytes | memoryview) -> bytes:
    """Return the concatenated leaves of bytes in memory."""
    view = memoryview(data)
    return b"".join(leaf(view[at : at + CHUNK]) for at in range(0, len(view), CHUNK))


def root(leaves: bytes | memoryview) -> bytes:
    """Return the root over concatenated 32-byte leaves."""
    level = [bytes(leaves[at : at + DIGEST]) for at in range(0, len(leaves), DIGEST)]
    if not level:
        return EMPTY
    # Pairing neighbours and lifting the odd one out gives RFC 6962's tree, level by level.
    while len(level) > 1:
        pairs = [
            hashlib.sha256(b"\x01" + level[at] + level[at + 1]).digest() for at in range(0, len(level) - 1, 2)
        ]
        level = pairs + level[len(level) & ~1 :]
    return level[0]


def digests_of(descriptor: int) -> Digests:
    """Read a file once, from the start to its end, for both its SHA-256 and its leaves. Raises `OSError`."""
    whole = hashlib.sha256()
    leaves: list[bytes] = []
    size = 0
    head = b""
    while data := _read_full(descriptor, _READ):
        whole.update(data)
        leaves.append(leaves_of(data))
        head = head or data[:64]
        size += len(data)
    return Digests(size, whole.hexdigest(), b"".join(leaves), head)


def _read_full(descriptor: int, size: int) -> bytes:
    """Read until `size` or the end, so that a short read never splits a chunk."""
    data = os.read(descriptor, size)
    if len(data) == size or not data:
        return data
    parts = [data]
    missing = size - len(data)
    while missing and (more := os.read(descriptor, missing)):
        parts.append(more)
        missing -= len(more)
    return b"".join(parts)
