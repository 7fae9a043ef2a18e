"""Search files for pieces of secrets, fast enough to look at every byte of some hundred megabytes.

A piece is 16 bytes. A file that holds one at any offset also holds, at an offset divisible by 8, one of the eight
8-byte words that begin at the piece's offsets 0 to 7. So each file is read as 8-byte words and looked up in one
set: many thousand pieces cost as much as one. A hit is confirmed with all 16 bytes.
"""

from __future__ import annotations

import base64
import mmap
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PIECE = 16
_WORD = 8
# Text and tables occur in libraries too; weights, pixels and keys do not look like that.
_MIN_DISTINCT = 12
_MIN_HIGH = 4


@dataclass(frozen=True)
class Piece:
    """16 bytes of a secret, and what it is a piece of."""

    name: str
    window: bytes


@dataclass(frozen=True)
class Leak:
    """A piece that was found; never the piece itself."""

    name: str
    file: Path
    offset: int

    def __str__(self) -> str:
        return f"16 bytes of {self.name} found in {self.file} at offset {self.offset}"


def binary_pieces(name: str, data: bytes, *, step: int) -> Iterator[Piece]:
    """Yield a piece every `step` bytes: a stretch of `step` + 16 bytes anywhere is enough to be found."""
    for offset in range(0, len(data) - PIECE + 1, step):
        window = data[offset : offset + PIECE]
        if len(set(window)) >= _MIN_DISTINCT and sum(byte > 127 for byte in window) >= _MIN_HIGH:
            yield Piece(f"{name} (offset {offset})", window)


def text_pieces(name: str, data: bytes) -> Iterator[Piece]:
    """Yield every piece of a short text that spans a line's end: its single words are no secret of this run."""
    for offset in range(len(data) - PIECE + 1):
        window = data[offset : offset + PIECE]
        if b"\n" in window[4:-4]:
            yield Piece(name, window)


def key_pieces(name: str, key: bytes) -> Iterator[Piece]:
    """Yield a 16-byte key as it is, in hex and in base64."""
    for form, text in (("", key), (" in hex", key.hex().encode()), (" in base64", base64.b64encode(key))):
        yield Piece(f"key {name}{form}", text[:PIECE])


class Search:
    """A set of pieces, and the files that were searched for them."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self.pieces = 0
        self.files = 0
        self.bytes = 0
        self._seen: set[tuple[int, int, int, int]] = set()
        self._table: dict[int, list[Piece]] = {}
        for piece in pieces:
            self.pieces += 1
            for shift in range(_WORD):
                word = int.from_bytes(piece.window[shift : shift + _WORD], sys.byteorder)
                self._table.setdefault(word, []).append(piece)
        self._words = frozenset(self._table)

    def folder(self, top: Path) -> list[Leak]:
        """Search every regular file below `top`, but for those that were searched and are unchanged."""
        leaks = []
        for folder, _, names in os.walk(top):
            for name in names:
                leaks += self.file(Path(folder, name))
        return leaks

    def file(self, path: Path) -> list[Leak]:
        status = os.lstat(path)
        stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if not stat.S_ISREG(status.st_mode) or stamp in self._seen:
            return []
        self._seen.add(stamp)
        self.files += 1
        self.bytes += status.st_size
        if status.st_size < PIECE:
            return []
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return self._search(data, path)

    def _search(self, data: mmap.mmap, path: Path) -> list[Leak]:
        whole = len(data) // _WORD * _WORD
        with memoryview(data) as view, view[:whole] as aligned, aligned.cast("Q") as words:
            hits = self._words.intersection(words)
        pieces = {piece for hit in hits for piece in self._table[hit]}
        return [
            Leak(piece.name, path, offset) for piece in pieces if (offset := data.find(piece.window)) >= 0
        ]
