"""What the file server can serve: nodes with attributes, and handles with bytes."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import NamedTuple, Protocol

# Every trusted and input file has this modification time (2000-01-01), so that nothing depends on the host's clock
# or on when something was installed.
FIXED_TIME_NS = 946_684_800 * 10**9


class Attributes(NamedTuple):
    """What `stat` shows: full mode with file type, size in bytes, modification time in nanoseconds."""

    mode: int
    size: int
    modified_ns: int = FIXED_TIME_NS


class Handle(Protocol):
    """An open file."""

    def read_into(self, buffer: memoryview, offset: int) -> int: ...

    def write(self, data: memoryview, offset: int) -> int: ...

    def truncate(self, size: int) -> None: ...

    def flush(self) -> None:
        """Put what was written in place: a close or an fsync by a living process."""

    def abandon(self) -> None:
        """Note that a process was killed with this open: unless another one flushes, `close` drops the changes."""

    def close(self) -> None: ...

    def attributes(self) -> Attributes: ...


class Node(Protocol):
    """A name in the tree."""

    def attributes(self) -> Attributes: ...


class Openable(Node, Protocol):
    """A regular file."""

    def open(self, flags: int) -> Handle: ...


def is_write(flags: int) -> bool:
    """Tell whether `open` flags ask for anything but reading."""
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC))


class ReadOnlyHandle:
    """What every read-only handle answers to an attempt to change it."""

    def write(self, data: memoryview, offset: int) -> int:
        raise OSError(errno.EROFS, "read-only")

    def truncate(self, size: int) -> None:
        raise OSError(errno.EROFS, "read-only")

    def flush(self) -> None:
        return None

    def abandon(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of which only the names below it matter."""

    writable: bool = False

    def attributes(self) -> Attributes:
        return Attributes(stat.S_IFDIR | (0o755 if self.writable else 0o555), 0)


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    target: str

    def attributes(self) -> Attributes:
        return Attributes(stat.S_IFLNK | 0o777, len(self.target.encode()))


@dataclass(frozen=True, slots=True)
class Literal:
    """A small file made by the runtime itself, such as `/etc/passwd`."""

    data: bytes
    mode: int = 0o444

    def attributes(self) -> Attributes:
        return Attributes(stat.S_IFREG | self.mode, len(self.data))

    def open(self, flags: int) -> Handle:
        return _LiteralHandle(self)


class _LiteralHandle(ReadOnlyHandle):
    def __init__(self, node: Literal) -> None:
        self._node = node

    def read_into(self, buffer: memoryview, offset: int) -> int:
        part = self._node.data[offset : offset + len(buffer)]
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None:
        return None

    def attributes(self) -> Attributes:
        return self._node.attributes()
