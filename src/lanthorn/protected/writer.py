"""Write a new protected file in one pass.

A tree node is encrypted together with its 96 data nodes; only its key and tag stay in memory: 32 bytes for
each 384 KiB, 0.008 % of the file. At the end the few tree nodes that have children (3 % of them) are read
back, checked, given their children's entries and encrypted again under fresh keys, then node 0 is written.
"""

from __future__ import annotations

import os
from typing import BinaryIO

from lanthorn.errors import FormatError, StorageError
from lanthorn.keys import WrapKey
from lanthorn.protected._crypto import Random, encrypt_nodes, encrypt_one
from lanthorn.protected._layout import (
    CHILD_OFFSET,
    CHILDREN_PER_MHT,
    ENTRY,
    GROUP,
    HEAD,
    KEY,
    MAX_FILE_SIZE,
    NODE,
    NODES_PER_GROUP,
    TAG,
    encrypted_size,
    physical_mht,
)
from lanthorn.protected._range import FileRange
from lanthorn.protected._tree import load_mht
from lanthorn.protected.metadata import Metadata, build_node0, version_id
from lanthorn.protected.paths import check_embedded_path
from lanthorn.storage import storage_errors


class GroupEncryptor:
    """Encrypts groups, a tree node with its data nodes, into a store. Not for several threads."""

    def __init__(self, store: FileRange, random: Random = os.urandom) -> None:
        self._store = store
        self._random = random
        self.plain = memoryview(bytearray(GROUP))
        self._out = memoryview(bytearray(NODES_PER_GROUP * NODE + TAG))

    def write(self, m: int, length: int) -> bytes:
        """Encrypt `length` bytes of `plain` as the data of tree node `m`; return the node's entry."""
        count = -(-length // NODE)
        self.plain[length : count * NODE] = bytes(count * NODE - length)
        keys = self._random(KEY * (1 + count))
        entries = encrypt_nodes(self.plain, keys[KEY:], self._out[NODE:])
        cipher, tag = encrypt_one(keys[:KEY], entries.ljust(NODE, b"\0"))
        self._out[:NODE] = cipher
        self._store.pwrite(self._out[: (1 + count) * NODE], physical_mht(m) * NODE)
        return keys[:KEY] + tag


def finish_tree(store: FileRange, entries: bytearray, random: Random = os.urandom) -> bytes:
    """Give tree nodes the entries of their children, the last parent first; return the root's entry.

    `entries` has those of all tree nodes in order. What the store gives back is checked against them.
    """
    count = len(entries) // ENTRY
    for m in range((count - 2) // CHILDREN_PER_MHT, -1, -1) if count > 1 else ():
        node = bytearray(load_mht(store, m, bytes(entries[m * ENTRY : (m + 1) * ENTRY]), store.name))
        first = m * CHILDREN_PER_MHT + 1
        children = entries[first * ENTRY : (first + CHILDREN_PER_MHT) * ENTRY]
        node[CHILD_OFFSET : CHILD_OFFSET + len(children)] = children
        key = random(KEY)
        cipher, tag = encrypt_one(key, node)
        store.pwrite(cipher, physical_mht(m) * NODE)
        entries[m * ENTRY : (m + 1) * ENTRY] = key + tag
    return bytes(entries[:ENTRY]).ljust(ENTRY, b"\0")


def finish_file(store: FileRange, key: WrapKey, metadata: Metadata, random: Random = os.urandom) -> str:
    """Cut the store to its length and write node 0, which makes the file readable; return the version id."""
    store.truncate(encrypted_size(metadata.size))
    node0 = build_node0(metadata, key, random)
    store.pwrite(node0, 0)
    return version_id(node0)


def encrypt_stream(
    source: BinaryIO,
    store: FileRange,
    key: WrapKey,
    path: str,
    *,
    size: int | None = None,
    random: Random = os.urandom,
) -> str:
    """Encrypt everything `source` gives into the empty `store`, and return the version id.

    `path` is embedded. If `size` is given, a source of another length is refused. Neither flushes the store
    to disk nor renames it. Raises `UsageError` for the path, `FormatError` over `MAX_FILE_SIZE`,
    `StorageError`.
    """
    check_embedded_path(path)
    encryptor = GroupEncryptor(store, random)
    head = memoryview(bytearray(HEAD))
    total = _read_up_to(source, head)
    entries = bytearray()
    while length := _read_up_to(source, encryptor.plain) if total >= HEAD else 0:
        total += length
        if total > MAX_FILE_SIZE:
            raise FormatError(f"over a limit: expected at most {MAX_FILE_SIZE} bytes, got more")
        entries += encryptor.write(len(entries) // ENTRY, length)
    if size is not None and total != size:
        raise StorageError(f"{path} changed while it was read: expected {size} bytes, got {total}")
    root = finish_tree(store, entries, random)
    return finish_file(store, key, Metadata(path, total, root, bytes(head[:total])), random)


def _read_up_to(source: BinaryIO, buffer: memoryview) -> int:
    """Fill `buffer`; return how much there was, less only at the end."""
    done = 0
    with storage_errors("read", str(getattr(source, "name", "source"))):
        while done < len(buffer):
            data = source.read(len(buffer) - done)
            if not data:
                break
            buffer[done : done + len(data)] = data
            done += len(data)
    return done
