"""The tree of keys and tags, read lazily, verified from the root down, kept in bounded number."""

from __future__ import annotations

import threading
from typing import Final

from lanthorn.errors import IntegrityError
from lanthorn.protected._crypto import BadNodeError, decrypt_one
from lanthorn.protected._layout import (
    CHILD_OFFSET,
    DATA_PER_MHT,
    ENTRY,
    KEY,
    NODE,
    child_offset,
    parent,
    physical_mht,
    runs,
)
from lanthorn.protected._range import RangeReader, read_exactly

MAX_KEPT_NODES: Final = 2048
"""8 MiB of tree nodes, which cover 768 MiB of contents."""


def load_mht(source: RangeReader, m: int, entry: bytes, name: str) -> bytes:
    """Read tree node `m` and check it against its entry. Raises `IntegrityError` or `StorageError`."""
    cipher = bytearray(NODE)
    if not read_exactly(source, memoryview(cipher), physical_mht(m) * NODE):
        raise IntegrityError(f"{name} is cut short: tree node {m} is missing")
    try:
        return decrypt_one(entry[:KEY], entry[KEY:], cipher)
    except BadNodeError as error:
        raise IntegrityError(f"{name} was changed: tree node {m} does not fit its tag") from error


class Tree:
    """Verified tree nodes of one file. Safe to use from several threads."""

    def __init__(self, source: RangeReader, root_entry: bytes, name: str) -> None:
        self._source = source
        self._root_entry = root_entry
        self._name = name
        self._nodes: dict[int, bytes] = {}
        self._lock = threading.Lock()

    def node(self, m: int) -> bytes:
        found = self._nodes.get(m)
        if found is None:
            found = load_mht(self._source, m, self._entry(m), self._name)
            self._keep(m, found)
        return found

    def data_entries(self, first: int, count: int) -> bytes:
        """Return the entries of `count` data nodes from data node `first` on."""
        parts = []
        for d, here in runs(first, count):
            m, index = divmod(d, DATA_PER_MHT)
            parts.append(self.node(m)[index * ENTRY : (index + here) * ENTRY])
        return b"".join(parts)

    def _entry(self, m: int) -> bytes:
        if m == 0:
            return self._root_entry
        offset = child_offset(m)
        return self.node(parent(m))[offset : offset + ENTRY]

    def _keep(self, m: int, node: bytes) -> None:
        with self._lock:
            if len(self._nodes) >= MAX_KEPT_NODES:
                # The oldest goes. The root may go too; it comes back when it is next needed.
                del self._nodes[next(iter(self._nodes))]
            self._nodes[m] = node


assert CHILD_OFFSET + 32 * ENTRY == NODE  # noqa: S101 - the format's own arithmetic
