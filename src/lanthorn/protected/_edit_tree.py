"""The tree of a file that is being changed: mutable nodes, written back under fresh keys.

Invariants:
* a node number below `_stored` is on disk in a form that its parent's entry (as in memory) fits, or is dirty;
* a node from `_stored` on begins as zeros, whatever the disk or a stale entry has;
* a data node below the end has either an entry, or an all-zero entry below a tree node that is in `_sparse`:
  then it is a hole, reads as zeros, and is encrypted as zeros before the tree is flushed.
All nodes touched since the last flush are held in memory: 1 % of the contents they cover.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from lanthorn.protected._crypto import Random, encrypt_one
from lanthorn.protected._layout import (
    CHILD_OFFSET,
    CHILDREN_PER_MHT,
    DATA_PER_MHT,
    ENTRY,
    KEY,
    NODE,
    child_offset,
    data_nodes,
    mht_nodes,
    parent,
    physical_mht,
)
from lanthorn.protected._range import FileRange
from lanthorn.protected._tree import MAX_KEPT_NODES, load_mht

_NO_ENTRY: Final = bytes(ENTRY)


class EditTree:
    """Tree nodes of one file under change. Not for several threads."""

    def __init__(self, store: FileRange, root_entry: bytes, size: int, name: str, random: Random) -> None:
        self._store = store
        self._root_entry = root_entry
        self._stored = mht_nodes(data_nodes(size))
        self._name = name
        self._random = random
        self._nodes: dict[int, bytearray] = {}
        self._dirty: set[int] = set()
        self._sparse: set[int] = set()

    def entries(self, d: int, count: int) -> bytes:
        """Return the entries of `count` data nodes that have the same tree node."""
        m, index = divmod(d, DATA_PER_MHT)
        return bytes(self._node(m)[index * ENTRY : (index + count) * ENTRY])

    def set_entries(self, d: int, entries: bytes) -> None:
        """Take over the entries of freshly written data nodes that have the same tree node."""
        m, index = divmod(d, DATA_PER_MHT)
        self._node(m)[index * ENTRY : index * ENTRY + len(entries)] = entries
        self._dirty.add(m)

    def may_have_holes(self, d: int) -> bool:
        """Return whether any data node with the same tree node as `d` may be a hole."""
        return d // DATA_PER_MHT in self._sparse

    def is_hole(self, d: int) -> bool:
        """Return whether data node `d` was never written since the file grew over it."""
        return self.may_have_holes(d) and self.entries(d, 1) == _NO_ENTRY

    def grow(self, old_count: int, new_count: int) -> None:
        """Make data nodes `old_count` to `new_count - 1` holes."""
        if new_count > old_count:
            self._sparse.update(range(old_count // DATA_PER_MHT, mht_nodes(new_count)))

    def shrink(self, data_count: int) -> None:
        """Forget everything from data node `data_count` on; a later growth finds zeros there."""
        count = mht_nodes(data_count)
        if data_count % DATA_PER_MHT:
            self._clear(count - 1, data_count % DATA_PER_MHT * ENTRY, CHILD_OFFSET)
        for m in range(parent(count) if count else 0, min(count, parent(self._stored) + 1)):
            first = max(0, count - m * CHILDREN_PER_MHT - 1)
            self._clear(m, CHILD_OFFSET + first * ENTRY, NODE)
        self._stored = min(self._stored, count)
        self._nodes = {m: node for m, node in self._nodes.items() if m < count}
        self._dirty = {m for m in self._dirty if m < count}
        self._sparse = {m for m in self._sparse if m < count}

    def _clear(self, m: int, begin: int, end: int) -> None:
        """Zero entries that nothing uses any more, unless they are zero already."""
        node = self._node(m)
        if any(node[begin:end]):
            node[begin:end] = bytes(end - begin)
            self._dirty.add(m)

    def holes(self, data_count: int) -> Iterator[tuple[int, int]]:
        """Yield runs (first, count) of holes, each below one tree node. The caller writes them."""
        for m in sorted(self._sparse):
            used = min(DATA_PER_MHT, data_count - m * DATA_PER_MHT)
            entries = bytes(self._node(m)[: used * ENTRY])
            if _NO_ENTRY in entries:
                yield from _hole_runs(m * DATA_PER_MHT, entries)
        self._sparse.clear()

    def flush(self, data_count: int) -> bytes:
        """Write dirty nodes, children before parents, each under a fresh key; return the root's entry."""
        count = mht_nodes(data_count)
        for m in sorted(self._with_ancestors(), reverse=True):
            key = self._random(KEY)
            cipher, tag = encrypt_one(key, self._node(m))
            self._store.pwrite(cipher, physical_mht(m) * NODE)
            self._set_entry(m, key + tag)
        self._dirty.clear()
        self._stored = count
        if len(self._nodes) > MAX_KEPT_NODES:
            self._nodes.clear()
        return self._root_entry if count else _NO_ENTRY

    def _with_ancestors(self) -> set[int]:
        found = set()
        for m in self._dirty:
            while m not in found:
                found.add(m)
                m = parent(m) if m else 0
        return found

    def _node(self, m: int) -> bytearray:
        found = self._nodes.get(m)
        if found is None:
            found = bytearray(NODE)
            if m < self._stored:
                found[:] = load_mht(self._store, m, self._entry(m), self._name)
            self._nodes[m] = found
        return found

    def _entry(self, m: int) -> bytes:
        if m == 0:
            return self._root_entry
        offset = child_offset(m)
        return bytes(self._node(parent(m))[offset : offset + ENTRY])

    def _set_entry(self, m: int, entry: bytes) -> None:
        if m == 0:
            self._root_entry = entry
        else:
            offset = child_offset(m)
            self._node(parent(m))[offset : offset + ENTRY] = entry


def _hole_runs(first: int, entries: bytes) -> Iterator[tuple[int, int]]:
    count = len(entries) // ENTRY
    begin = None
    for index in range(count + 1):
        hole = index < count and entries[index * ENTRY : (index + 1) * ENTRY] == _NO_ENTRY
        if hole and begin is None:
            begin = index
        elif not hole and begin is not None:
            yield first + begin, index - begin
            begin = None
