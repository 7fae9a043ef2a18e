"""Protected inputs: opened and checked at the start, decrypted and checked node by node as they are read.

The host can withhold, swap, shorten or roll back any of them; each of these ends the run and names the file.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import NamedTuple

from lanthorn.errors import IntegrityError, ManifestError, StorageError
from lanthorn.job.lock import LockedPath
from lanthorn.keys import WrapKey
from lanthorn.protected import (
    INDEX_NAME,
    FileEntry,
    FileRange,
    FolderEntry,
    FolderIndex,
    LinkEntry,
    ProtectedReader,
)
from lanthorn.protected.folder import Entry
from lanthorn.targets.native.nodes import Attributes, Folder, Handle, Link, Node, ReadOnlyHandle


class ProtectedInput:
    """An encrypted input file as a node, readable only."""

    __slots__ = ("_host", "_key", "_path", "_reader", "_size", "_source", "_version")

    def __init__(
        self, host: Path, path: str, key: WrapKey, version: str | None, size: int | None = None
    ) -> None:
        self._host = host
        self._path = path
        self._key = key
        self._version = version
        self._size = size
        self._source: FileRange | None = None
        self._reader: ProtectedReader | None = None

    def reader(self) -> ProtectedReader:
        """Open and check the file once; every handle shares the reader, which is safe for threads."""
        if self._reader is None:
            source = _open_named(self._host, self._path)
            reader = ProtectedReader.open(source, self._key, path=self._path, version=self._version)
            if self._size is not None and reader.size != self._size:
                raise IntegrityError(
                    f"{self._path}: its folder's index says {self._size} bytes, found {reader.size}"
                )
            self._source = source
            self._reader = reader
        return self._reader

    @property
    def version(self) -> str:
        return self.reader().version

    def attributes(self) -> Attributes:
        size = self._size if self._size is not None else self.reader().size
        return Attributes(stat.S_IFREG | 0o444, size)

    def open(self, flags: int) -> Handle:
        return _InputHandle(self)


class _InputHandle(ReadOnlyHandle):
    def __init__(self, node: ProtectedInput) -> None:
        self._node = node
        self._reader = node.reader()

    def read_into(self, buffer: memoryview, offset: int) -> int:
        return self._reader.read_into(buffer, offset)

    def close(self) -> None:
        return None

    def attributes(self) -> Attributes:
        return self._node.attributes()


class OpenedInput(NamedTuple):
    """A protected input with all its nodes, by path below the job's folder."""

    version: str
    nodes: list[tuple[str, Node]]


def open_inputs(job: Path, entry: LockedPath, key: WrapKey) -> OpenedInput:
    """Open one protected input; everything that it names must be there.

    Raises `ManifestError` for what the host withholds and `IntegrityError` for what it changed.
    """
    if entry.kind == "file":
        node = ProtectedInput(job / entry.path, entry.path, key, entry.version)
        return OpenedInput(node.version, [(entry.path, node)])
    with _open_named(job / entry.path / INDEX_NAME, f"{entry.path}/{INDEX_NAME}") as source:
        index = FolderIndex.load(source, key, folder=entry.path, version=entry.version)
    nodes: list[tuple[str, Node]] = [(entry.path, Folder())]
    for name, item in index.entries.items():
        nodes.append((f"{entry.path}/{name}", _indexed(job, f"{entry.path}/{name}", item, key)))
    return OpenedInput(index.version, nodes)


def _indexed(job: Path, path: str, item: Entry, key: WrapKey) -> Node:
    match item:
        case FileEntry():
            if not (job / path).is_file():
                raise ManifestError(f"{path} is named by its folder's index but withheld by the host")
            return ProtectedInput(job / path, path, key, item.version, item.size)
        case LinkEntry():
            return Link(item.target)
        case FolderEntry():
            return Folder()


def _open_named(host: Path, path: str) -> FileRange:
    try:
        return FileRange.open(host)
    except StorageError as error:
        reason = error.message.rpartition(": ")[2]
        raise ManifestError(f"{path} is named by the lock but withheld by the host: {reason}") from error
