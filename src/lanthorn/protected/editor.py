"""Change a protected file at random offsets, on a private working copy.

Data nodes that are only partly written wait in a bounded cache; whole ones are encrypted straight from the
caller's buffer. Every node is written under a fresh key each time. The store holds a complete file only
after `flush`, which writes node 0 last; what others see in between is the caller's business (a copy, then a
rename).
"""

from __future__ import annotations

import os
import threading
from typing import Final

from lanthorn.errors import StorageError
from lanthorn.keys import WrapKey
from lanthorn.protected._crypto import Random, encrypt_nodes
from lanthorn.protected._edit_tree import EditTree
from lanthorn.protected._layout import (
    DATA_PER_MHT,
    HEAD,
    KEY,
    MAX_FILE_SIZE,
    NODE,
    TAG,
    data_nodes,
    physical_data,
    runs,
)
from lanthorn.protected._nodes import read_nodes, work_buffer
from lanthorn.protected._range import FileRange
from lanthorn.protected.metadata import Metadata
from lanthorn.protected.paths import check_embedded_path
from lanthorn.protected.reader import open_verified
from lanthorn.protected.writer import finish_file

MAX_DIRTY_NODES: Final = 1024
"""4 MiB of partly written data nodes; then all of them are encrypted into the store."""


class ProtectedEditor:
    """One file under change. Methods take a lock, so several threads may use it.

    Bytes beyond the end are zero everywhere in memory, so that growing shows zeros. After a failed write
    the editor refuses to write or flush again: a file it completed could lack bytes that it overwrote.
    """

    def __init__(
        self, store: FileRange, key: WrapKey, metadata: Metadata, version: str, random: Random
    ) -> None:
        self.size = metadata.size
        self.path = metadata.path
        self._store = store
        self._key = key
        self._random = random
        self._version = version
        self._head = bytearray(metadata.head.ljust(HEAD, b"\0"))
        self._tree = EditTree(store, metadata.root_entry, metadata.size, metadata.path, random)
        self._dirty: dict[int, bytearray] = {}
        self._out = memoryview(bytearray(DATA_PER_MHT * NODE + TAG))
        self._work = work_buffer(DATA_PER_MHT)
        self._changed = not version
        self._failed = False
        self._lock = threading.RLock()

    @classmethod
    def create(
        cls, store: FileRange, key: WrapKey, path: str, *, random: Random = os.urandom
    ) -> ProtectedEditor:
        """Begin an empty file that carries `path`; whatever `store` held is cut off."""
        check_embedded_path(path)
        store.truncate(0)
        return cls(store, key, Metadata(path, 0, bytes(32), b""), "", random)

    @classmethod
    def open(
        cls, store: FileRange, key: WrapKey, path: str, *, random: Random = os.urandom
    ) -> ProtectedEditor:
        """Open a complete file that carries `path`.

        Checks what `ProtectedReader.open` does, and its last node.
        """
        header, metadata = open_verified(store, key, store.name, path=path, version=None)
        editor = cls(store, key, metadata, header.version_id, random)
        editor._clean_tail()
        return editor

    def read(self, length: int, offset: int) -> bytes:
        """Return exactly `min(length, size - offset)` bytes. Raises `IntegrityError` or `StorageError`."""
        buffer = bytearray(max(0, min(length, self.size - offset)))
        return bytes(memoryview(buffer)[: self.read_into(memoryview(buffer), offset)])

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` from `offset`; return how many bytes, fewer only at the end.

        On failure it is zeroed.
        """
        with self._lock:
            wanted = min(len(buffer), self.size - offset)
            if wanted <= 0 or offset < 0:
                return 0
            try:
                self._fill(buffer[:wanted], offset)
            except BaseException:
                buffer[:wanted] = bytes(wanted)
                raise
            return wanted

    def write(self, data: bytes | bytearray | memoryview, offset: int) -> int:
        """Write all of `data` at `offset`, beyond the end too, where a gap reads as zeros; return its length.

        Raises `StorageError`; after one that says the disk failed the editor stays failed.
        """
        view = memoryview(data).cast("B")
        with self._lock:
            self._check_usable(-1 if offset < 0 else offset + len(view))
            if view:
                self._grow(offset + len(view))
                self._changed = True
                self._put(view, offset)
            return len(view)

    def truncate(self, size: int) -> None:
        """Set the size. What is cut off is forgotten: growing again shows zeros."""
        with self._lock:
            self._check_usable(size)
            if size != self.size:
                self._changed = True
                self._grow(size) if size > self.size else self._shrink(size)

    def rename(self, path: str) -> None:
        """Make the next `flush` embed another path."""
        with self._lock:
            self.path = check_embedded_path(path)
            self._changed = True

    def flush(self) -> str:
        """Write everything, node 0 last, and return the version id; the store is then a complete, valid file.

        Nothing is written when nothing changed. Does not fsync. Raises `StorageError`.
        """
        with self._lock:
            self._check_usable(self.size)
            if self._changed:
                with _Failing(self):
                    self._version = self._flush()
                self._changed = False
            return self._version

    def _flush(self) -> str:
        count = data_nodes(self.size)
        self._write_out()
        zeros = memoryview(bytes(DATA_PER_MHT * NODE))
        for first, holes in self._tree.holes(count):
            self._encrypt(zeros[: holes * NODE], first)
        root = self._tree.flush(count)
        metadata = Metadata(self.path, self.size, root, bytes(self._head[: self.size]))
        return finish_file(self._store, self._key, metadata, self._random)

    def _check_usable(self, end: int) -> None:
        if self._failed:
            raise StorageError(f"cannot write {self.path}: an earlier write to it failed")
        if end > MAX_FILE_SIZE or end < 0:
            raise StorageError(f"cannot write {self.path}: expected 0 to {MAX_FILE_SIZE} bytes, got {end}")

    def _grow(self, size: int) -> None:
        if size > self.size:
            self._tree.grow(data_nodes(self.size), data_nodes(size))
            self.size = size

    def _shrink(self, size: int) -> None:
        count = data_nodes(size)
        used = (size - HEAD) % NODE
        if count and used:
            self._editable(count - 1)[used:] = bytes(NODE - used)
        self._head[size:] = bytes(max(0, HEAD - size))
        self._dirty = {d: node for d, node in self._dirty.items() if d < count}
        self._tree.shrink(count)
        self.size = size

    def _clean_tail(self) -> None:
        """Zero bytes and entries behind the end: Gramine leaves old ones there when it truncates."""
        count, used = data_nodes(self.size), (self.size - HEAD) % NODE
        self._tree.shrink(count)
        if count and used and any(self._node(count - 1)[used:]):
            self._editable(count - 1)[used:] = bytes(NODE - used)

    def _fill(self, target: memoryview, offset: int) -> None:
        done = 0
        if offset < HEAD:
            done = min(len(target), HEAD - offset)
            target[:done] = self._head[offset : offset + done]
        while done < len(target):
            d, skip = divmod(offset + done - HEAD, NODE)
            left = len(target) - done
            count = 0 if skip else self._count_stored(d, left // NODE)
            if count:
                part = target[done : done + count * NODE]
                read_nodes(self._store, self._tree.entries(d, count), part, d, self._work, self.path)
                done += count * NODE
            else:
                piece = self._node(d)[skip : skip + left]
                target[done : done + len(piece)] = piece
                done += len(piece)

    def _count_stored(self, d: int, limit: int) -> int:
        """Return how many nodes from `d` on, below one tree node, can be read from the store in one go."""
        limit = min(limit, DATA_PER_MHT - d % DATA_PER_MHT)
        if not self._dirty and not self._tree.may_have_holes(d):
            return limit
        for index in range(limit):
            if d + index in self._dirty or self._tree.is_hole(d + index):
                return index
        return limit

    def _node(self, d: int) -> bytes | bytearray:
        found = self._dirty.get(d)
        if found is not None:
            return found
        node = bytearray(NODE)
        if not self._tree.is_hole(d):
            read_nodes(self._store, self._tree.entries(d, 1), memoryview(node), d, self._work, self.path)
        return node

    def _editable(self, d: int) -> bytearray:
        """Return data node `d` in the cache of dirty nodes, after making room for it."""
        found = self._dirty.get(d)
        if found is None:
            if len(self._dirty) >= MAX_DIRTY_NODES:
                with _Failing(self):
                    self._write_out()
            found = self._dirty[d] = bytearray(self._node(d))
        return found

    def _put(self, view: memoryview, offset: int) -> None:
        done = 0
        if offset < HEAD:
            done = min(len(view), HEAD - offset)
            self._head[offset : offset + done] = view[:done]
        while done < len(view):
            d, skip = divmod(offset + done - HEAD, NODE)
            left = len(view) - done
            if skip or left < NODE:
                part = min(left, NODE - skip)
                self._editable(d)[skip : skip + part] = view[done : done + part]
            else:
                count = min(left // NODE, DATA_PER_MHT - d % DATA_PER_MHT)
                part = count * NODE
                with _Failing(self):
                    self._encrypt(view[done : done + part], d)
            done += part

    def _write_out(self) -> None:
        """Encrypt all dirty data nodes into the store, neighbours together."""
        order = sorted(self._dirty)
        at = 0
        while at < len(order):
            end = at + 1
            while end < len(order) and order[end] == order[end - 1] + 1:
                end += 1
            for first, count in runs(order[at], end - at):
                plain = b"".join([self._dirty[d] for d in range(first, first + count)])
                self._encrypt(memoryview(plain), first)
            at = end

    def _encrypt(self, plain: memoryview, first: int) -> None:
        """Write whole data nodes below one tree node under fresh keys; they are no longer dirty then."""
        count = len(plain) // NODE
        entries = encrypt_nodes(plain, self._random(KEY * count), self._out)
        self._store.pwrite(self._out[: count * NODE], physical_data(first) * NODE)
        self._tree.set_entries(first, entries)
        for d in range(first, first + count) if self._dirty else ():
            self._dirty.pop(d, None)


class _Failing:
    """Marks the editor as failed when its block raises."""

    def __init__(self, editor: ProtectedEditor) -> None:
        self._editor = editor

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:
            self._editor._failed = True
