"""Read a protected file at random offsets, checking every node it returns bytes of.

Checked at open: header, metadata, version id and path if given, and that the host file has exactly the
length that the authentic size demands. Checked at read: each tree and data node on the way. Not detected:
an older complete version of the same file under the same key and path, unless the caller passes the version
id it expects.
"""

from __future__ import annotations

import hmac

from lanthorn.errors import FormatError, IntegrityError
from lanthorn.keys import WrapKey
from lanthorn.protected._layout import DATA_PER_MHT, HEAD, NODE, encrypted_size
from lanthorn.protected._nodes import read_nodes, work_buffer
from lanthorn.protected._range import RangeReader, read_exactly
from lanthorn.protected._tree import Tree
from lanthorn.protected.metadata import Header, Metadata, open_metadata, parse_header

_RUN = 3 * DATA_PER_MHT
"""Data nodes decrypted per read of the host: 1 MiB and a little, so that a FUSE read takes one call."""


def read_node0(source: RangeReader, name: str) -> tuple[bytes, Header]:
    """Read node 0 and its header. Raises `FormatError` when the source is no protected file."""
    length = source.size()
    if length < NODE:
        raise FormatError(f"{name} is not a protected file: expected at least {NODE} bytes, got {length}")
    node0 = bytearray(NODE)
    if not read_exactly(source, memoryview(node0), 0):
        raise IntegrityError(f"{name} is cut short: its first node is missing")
    return bytes(node0), parse_header(bytes(node0), name)


def open_verified(
    source: RangeReader, key: WrapKey, name: str, *, path: str | None, version: str | None
) -> tuple[Header, Metadata]:
    """Read and check node 0, as `ProtectedReader.open` says."""
    # (1) header; (2) version id, before any secret is used; (3) metadata; (4) path; (5) length.
    node0, header = read_node0(source, name)
    if version is not None and not hmac.compare_digest(version.encode(), header.version_id.encode()):
        raise IntegrityError(f"{name} is another version: expected {version}, got {header.version_id}")
    metadata = open_metadata(node0, header, key, name)
    if path is not None and path != metadata.path:
        raise IntegrityError(f"{name} carries another path: expected {path!r}, got {metadata.path!r}")
    expected, length = encrypted_size(metadata.size), source.size()
    if length != expected:
        what = "is cut short" if length < expected else "has extra bytes at its end"
        raise IntegrityError(f"{name} {what}: expected {expected} bytes, got {length}")
    return header, metadata


class ProtectedReader:
    """A verified view of one file. Several threads may read at once; a failed read returns nothing."""

    def __init__(self, source: RangeReader, header: Header, metadata: Metadata, name: str) -> None:
        self.size = metadata.size
        self.path = metadata.path
        self.version = header.version_id
        self._source = source
        self._head = metadata.head
        self._name = name
        self._tree = Tree(source, metadata.root_entry, name)
        self._buffers: list[bytearray] = []
        self._last: tuple[int, bytes] = (-1, b"")

    @classmethod
    def open(
        cls,
        source: RangeReader,
        key: WrapKey,
        *,
        path: str | None,
        version: str | None = None,
        name: str | None = None,
    ) -> ProtectedReader:
        """Check node 0 and return a reader; data nodes are checked when they are read.

        `path` is compared with the embedded path and `version` with the version id, unless None. `name` is
        what messages call the file. `source` must stay open as long as the reader.

        Raises `FormatError` for what is no protected file, `IntegrityError` for a wrong key, a changed, cut
        or extended file, another path or another version, `StorageError` when the host fails.
        """
        label = name or path or str(getattr(source, "name", "protected file"))
        header, metadata = open_verified(source, key, label, path=path, version=version)
        return cls(source, header, metadata, label)

    def read(self, length: int, offset: int) -> bytes:
        """Return exactly `min(length, size - offset)` bytes, verified. Raises as `read_into`."""
        buffer = bytearray(max(0, min(length, self.size - offset)))
        return bytes(memoryview(buffer)[: self.read_into(memoryview(buffer), offset)])

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` with verified bytes from `offset`; return how many, fewer only at the end.

        On failure the buffer is zeroed. Raises `IntegrityError` or `StorageError`.
        """
        wanted = min(len(buffer), self.size - offset)
        if wanted <= 0 or offset < 0:
            return 0
        target = buffer[:wanted]
        try:
            self._fill(target, offset)
        except BaseException:
            target[:] = bytes(wanted)
            raise
        return wanted

    def _fill(self, target: memoryview, offset: int) -> None:
        done = 0
        if offset < HEAD:
            done = min(len(target), HEAD - offset)
            target[:done] = self._head[offset : offset + done]
        while done < len(target):
            first, skip = divmod(offset + done - HEAD, NODE)
            left = len(target) - done
            if skip or left < NODE:
                part = self._node(first)[skip : skip + left]
                target[done : done + len(part)] = part
                done += len(part)
            else:
                count = min(_RUN, left // NODE)
                self._fill_nodes(target[done : done + count * NODE], first, count)
                done += count * NODE

    def _node(self, d: int) -> bytes:
        """Return data node `d`; the last one is kept, as unaligned sequential reads want it twice."""
        kept, node = self._last
        if kept == d:
            return node
        buffer = bytearray(NODE)
        self._fill_nodes(memoryview(buffer), d, 1)
        node = bytes(buffer)
        self._last = (d, node)
        return node

    def _fill_nodes(self, target: memoryview, first: int, count: int) -> None:
        entries = self._tree.data_entries(first, count)
        work = self._take_buffer()
        try:
            read_nodes(self._source, entries, target, first, work, self._name)
        finally:
            self._buffers.append(work)

    def _take_buffer(self) -> bytearray:
        """Return a work buffer no other thread has; new ones cost page faults, so they are kept."""
        try:
            return self._buffers.pop()
        except IndexError:
            return work_buffer(_RUN)
