"""The kernel's requests as operations on a `Tree`. Nothing is decided here."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Callable
from typing import Any

from lanthorn.errors import Error
from lanthorn.targets.native.libfuse import mfusepy
from lanthorn.targets.native.nodes import Attributes, Handle, ReadOnlyHandle
from lanthorn.targets.native.processes import killed_by_signal
from lanthorn.targets.native.tree import Tree
from lanthorn.targets.native.warming import Trace

MAX_TRANSFER = 1 << 20
# Names and attributes change only through this mount, so the kernel need never ask twice.
_FOREVER = 86_400.0
_UID = os.getuid()
_GID = os.getgid()


class Operations(mfusepy.Operations):  # type: ignore[misc]
    """Operations by path and handle number, as mfusepy calls them. `fuse` has faster ways for the frequent ones."""

    use_ns = True
    flag_nopath = 1
    flag_nullpath_ok = 1

    def __init__(self, tree: Tree, mounted: Callable[[], None], trace: Trace) -> None:
        self.trace = trace
        self.answered = False
        self._tree = tree
        self._mounted = mounted
        self.handles: dict[int, Handle] = {}
        self.folders: dict[int, list[tuple[str, Attributes]]] = {}
        self._numbers = itertools.count(1)

    def init_with_config(self, conn_info: Any, config_3: Any) -> None:  # noqa: ANN401 - ctypes structures
        # libfuse refuses a mount whose option and connection disagree.
        conn_info.max_read = MAX_TRANSFER
        config_3.kernel_cache = 1
        config_3.hard_remove = 1
        config_3.entry_timeout = _FOREVER
        config_3.negative_timeout = _FOREVER
        config_3.attr_timeout = _FOREVER
        self.answered = True
        self._mounted()

    def getattr(self, path: str | None, fh: int | None = None) -> dict[str, int]:
        return stat_fields(self.attributes(path, fh))

    def attributes(self, path: str | None, fh: int | None) -> Attributes:
        """Return what stat shows; a file that is open may have lost its name."""
        if path is None and fh:
            return self.handles[fh].attributes()
        try:
            return self._tree.node(path or "/").attributes()
        except FileNotFoundError:
            self.trace.absent(path or "/")
            raise

    def fail(self, error: Error) -> None:
        self._tree.fail(error)

    def readlink(self, path: str) -> str:
        return self._tree.readlink(path)

    def open(self, path: str, flags: int) -> int:
        return self.number(self.handle(path, flags))

    def handle(self, path: str, flags: int) -> Handle:
        return self._tree.open(path, flags)

    def create(self, path: str, mode: int, fi: int | None = None) -> int:
        return self.number(self._tree.create(path))

    def number(self, handle: Handle) -> int:
        number = next(self._numbers)
        self.handles[number] = handle
        return number

    def read(self, path: str | None, size: int, offset: int, fh: int) -> bytes:
        buffer = bytearray(size)
        return bytes(buffer[: self.handles[fh].read_into(memoryview(buffer), offset)])

    def write(self, path: str | None, data: bytes, offset: int, fh: int) -> int:
        return self.handles[fh].write(memoryview(data), offset)

    def opendir(self, path: str) -> int:
        number = next(self._numbers)
        self.folders[number] = self._tree.listing(path)
        return number

    def is_fixed(self, path: str) -> bool:
        """Tell whether what a folder holds stays as it is for the whole run."""
        return not self._tree.is_writable(path)

    def readdir(self, path: str | None, fh: int) -> list[str]:
        return [name for name, _ in self.listing(fh)]

    def listing(self, fh: int) -> list[tuple[str, Attributes]]:
        """Return what the folder held when it was opened, the folder itself and the one above it first."""
        return self.folders[fh]

    def releasedir(self, path: str | None, fh: int) -> int:
        del self.folders[fh]
        return 0

    def truncate(self, path: str | None, length: int, fh: int | None = None) -> int:
        if fh:
            self.handles[fh].truncate(length)
        else:
            self._tree.truncate(path or "/", length)
        return 0

    def flush(self, path: str | None, fh: int) -> int:
        handle = self.handles[fh]
        if isinstance(handle, ReadOnlyHandle):
            return 0
        if killed_by_signal(mfusepy.fuse_get_context()[2]):
            handle.abandon()
        else:
            handle.flush()
        return 0

    def fsync(self, path: str | None, datasync: int, fh: int) -> int:
        self.handles[fh].flush()
        return 0

    def fsyncdir(self, path: str | None, datasync: int, fh: int) -> int:
        return 0

    def release(self, path: str | None, fh: int) -> int:
        self.handles.pop(fh).close()
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        self._tree.mkdir(path)
        return 0

    def rmdir(self, path: str) -> int:
        self._tree.rmdir(path)
        return 0

    def unlink(self, path: str) -> int:
        self._tree.unlink(path)
        return 0

    def rename(self, old: str, new: str) -> int:
        self._tree.rename(old, new)
        return 0

    def chmod(self, path: str | None, mode: int) -> int:
        self._tree.accept_change(path)
        return 0

    def chown(self, path: str | None, uid: int, gid: int) -> int:
        self._tree.accept_change(path)
        return 0

    def utimens(self, path: str | None, times: tuple[int, int] | None = None) -> int:
        self._tree.accept_change(path)
        return 0

    def statfs(self, path: str) -> dict[str, int]:
        return self._tree.statfs()


def stat_fields(attributes: Attributes) -> dict[str, int]:
    return {
        "st_mode": attributes.mode,
        "st_size": attributes.size,
        "st_nlink": 2 if stat.S_ISDIR(attributes.mode) else 1,
        "st_uid": _UID,
        "st_gid": _GID,
        "st_blocks": (attributes.size + 511) // 512,
        "st_blksize": 4096,
        "st_mtime": attributes.modified_ns,
        "st_atime": attributes.modified_ns,
        "st_ctime": attributes.modified_ns,
    }
