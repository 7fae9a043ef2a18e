"""The nodes of a view: where the host keeps each trusted file, and how to check what the host gives.

A view holds some 20,000 of them, so a file's node is two references into the parsed list and a number.
"""

from __future__ import annotations

import hmac
from typing import Any, NamedTuple

from lanthorn.errors import IntegrityError
from lanthorn.job import tree

READ_ONLY = 0o644
EXECUTABLE = 0o755


class Source(NamedTuple):
    """What the files of one group share."""

    prefix: str
    leaves: memoryview
    title: str


class FileNode:
    """A trusted file: where the host keeps it, and how to check what the host gives."""

    __slots__ = ("_at", "_row", "_source")

    def __init__(self, row: list[Any], source: Source, at: int) -> None:
        self._row = row
        self._source = source
        self._at = at

    @property
    def host(self) -> str:
        """The path on the host. What is read from it is not trusted."""
        return self._source.prefix + str(self._row[0])

    @property
    def size(self) -> int:
        return int(self._row[1])

    @property
    def mode(self) -> int:
        return EXECUTABLE if self._row[2] else READ_ONLY

    @property
    def sha256(self) -> str:
        return str(self._row[3])

    @property
    def root(self) -> bytes:
        return bytes.fromhex(self._row[4])

    @property
    def leaves(self) -> memoryview:
        """The leaf of each 64 KiB chunk, concatenated. Not checked: see `verified_leaves`."""
        start = self._at * tree.DIGEST
        return self._source.leaves[start : start + tree.leaf_count(self._row[1]) * tree.DIGEST]

    @property
    def name(self) -> str:
        """How to call it in a message: "torch 2.13.0: torch/nn/modules/conv.py"."""
        return f"{self._source.title}: {self._row[0]}"

    def verified_leaves(self) -> memoryview:
        """Return the leaves after checking them against the locked root. Raises `IntegrityError`."""
        return _verified(self.leaves, self.root, self.name)


class Pack:
    """The file that holds all the bytecode."""

    __slots__ = ("_checked", "host", "leaves", "root", "size")

    def __init__(self, host: str, size: int, root: bytes, leaves: memoryview) -> None:
        self.host = host
        self.size = size
        self.root = root
        self.leaves = leaves
        self._checked = False

    def verified_leaves(self) -> memoryview:
        """Return the leaves after checking them, once, against the locked root. Raises `IntegrityError`."""
        if not self._checked:
            _verified(self.leaves, self.root, "bytecode pack")
            self._checked = True
        return self.leaves


class SliceNode(NamedTuple):
    """A bytecode file: `size` bytes at `offset` of the pack. Chunks and leaves are those of the pack."""

    pack: Pack
    offset: int
    size: int
    name: str
    mode: int = READ_ONLY


class LiteralNode(NamedTuple):
    """A small file made here, with no counterpart on the host."""

    data: bytes
    mode: int = READ_ONLY

    @property
    def size(self) -> int:
        return len(self.data)


class LinkNode(NamedTuple):
    """A symbolic link; `target` is as the program reads it."""

    target: str


class FolderNode:
    """A folder; its names are sorted when first asked for."""

    __slots__ = ("_names", "_sorted")

    def __init__(self) -> None:
        self._names: list[str] = []
        self._sorted = True

    def add(self, name: str) -> None:
        self._names.append(name)
        self._sorted = False

    @property
    def children(self) -> list[str]:
        if not self._sorted:
            self._names.sort()
            self._sorted = True
        return self._names


Node = FileNode | SliceNode | LiteralNode | LinkNode | FolderNode


def _verified(leaves: memoryview, root: bytes, name: str) -> memoryview:
    if not hmac.compare_digest(tree.root(leaves), root):
        raise IntegrityError(f"the hash tree beside the lock does not match the lock: {name}")
    return leaves
