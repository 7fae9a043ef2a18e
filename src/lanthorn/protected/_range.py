"""The host's side of a protected file: bytes at offsets, trusted in nothing."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Protocol

from lanthorn.errors import StorageError
from lanthorn.storage import storage_errors


class RangeReader(Protocol):
    """What a reader needs of the host.

    A source may also have `pread_into(buffer, offset) -> int`, which saves a copy.
    """

    def pread(self, length: int, offset: int) -> bytes:
        """Return bytes at `offset`; fewer than `length` only at the end."""
        ...

    def size(self) -> int: ...


class FileRange:
    """A file descriptor as a `RangeReader` that can also be written. Closes it only if it opened it itself.

    Methods raise `StorageError`, its cause the `OSError`.
    """

    def __init__(self, fd: int, name: str | None = None) -> None:
        self.fd = fd
        self.name = name if name is not None else f"file descriptor {fd}"
        self._owned = False

    @classmethod
    def open(cls, path: Path | str) -> FileRange:
        """Open a regular file for reading only. Raises `StorageError`."""
        with storage_errors("read", path):
            # O_NONBLOCK: the host may have put a pipe there, whose open would never return.
            opened = cls(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), str(path))
            opened._owned = True
            regular = stat.S_ISREG(os.fstat(opened.fd).st_mode)
        if not regular:
            opened.close()
            raise StorageError(f"cannot read {path}: not a regular file")
        return opened

    @classmethod
    def create(cls, path: Path, mode: int, *, name: str | None = None) -> FileRange:
        """Make a new file for reading and writing. Raises `StorageError`, also when it exists."""
        with storage_errors("write", name or path):
            created = cls(
                os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), name or str(path)
            )
        created._owned = True
        return created

    def pread(self, length: int, offset: int) -> bytes:
        with storage_errors("read", self.name):
            data = os.pread(self.fd, length, offset)
            while 0 < len(data) < length:
                more = os.pread(self.fd, length - len(data), offset + len(data))
                if not more:
                    break
                data += more
            return data

    def pread_into(self, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` from `offset`; return how many bytes there were, fewer only at the end."""
        done = 0
        with storage_errors("read", self.name):
            while done < len(buffer):
                got = os.preadv(self.fd, [buffer[done:]], offset + done)
                if not got:
                    break
                done += got
        return done

    def pwrite(self, data: bytes | bytearray | memoryview, offset: int) -> int:
        """Write all of `data` at `offset`."""
        view = memoryview(data)
        done = 0
        with storage_errors("write", self.name):
            while done < len(view):
                done += os.pwrite(self.fd, view[done:], offset + done)
        return done

    def size(self) -> int:
        with storage_errors("read", self.name):
            return os.fstat(self.fd).st_size

    def truncate(self, size: int) -> None:
        with storage_errors("write", self.name):
            os.ftruncate(self.fd, size)

    def fsync(self) -> None:
        with storage_errors("write", self.name):
            os.fsync(self.fd)

    def close(self) -> None:
        if self._owned and self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> FileRange:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def read_exactly(source: RangeReader, buffer: memoryview, offset: int) -> bool:
    """Fill `buffer` from `offset`; return whether the source had that much.

    Foreign errors become `StorageError`.
    """
    into = getattr(source, "pread_into", None)
    try:
        if into is not None:
            return bool(into(buffer, offset) == len(buffer))
        data = source.pread(len(buffer), offset)
    except OSError as error:
        raise StorageError(
            f"cannot read at offset {offset}: {(error.strerror or 'error').lower()}"
        ) from error
    if len(data) != len(buffer):
        return False
    buffer[:] = data
    return True
