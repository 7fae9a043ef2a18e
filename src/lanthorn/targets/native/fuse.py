"""The kernel's requests as operations on a `Tree`, through libfuse 3 and mfusepy. Nothing is decided here.

Every failure becomes an errno. A check that failed (`lanthorn.errors.Error`) is reported to the tree's owner, which
ends the run, and reads as EIO meanwhile.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import logging
import os
import stat
from collections.abc import Callable, Iterator
from typing import Any

from lanthorn.errors import Error, RuntimeSetupError
from lanthorn.targets.native.nodes import Attributes, Handle, ReadOnlyHandle
from lanthorn.targets.native.processes import killed_by_signal
from lanthorn.targets.native.tree import Tree

# mfusepy picks libfuse 2 where both are installed, and looks for it by running ldconfig; sonames avoid both.
_SONAMES = ("libfuse3.so.4", "libfuse3.so.3")
# Names and attributes change only through this mount, so the kernel need never ask twice.
_FOREVER = 86_400.0
_MAX_TRANSFER = 1 << 20
_FILL_DIR_PLUS = 2


def _libfuse_soname() -> str:
    for name in _SONAMES:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return name
    raise RuntimeSetupError("libfuse 3 is missing", hint="as root: apt-get install libfuse3-3 fuse3")


os.environ["FUSE_LIBRARY_PATH"] = _libfuse_soname()
import mfusepy  # noqa: E402 - it reads the variable above when it is imported

log = logging.getLogger("lanthorn")


class _Operations(mfusepy.Operations):  # type: ignore[misc]
    """Path operations, as mfusepy calls them; reads and writes take the faster way of `_Fuse`."""

    use_ns = True
    flag_nopath = 1
    flag_nullpath_ok = 1

    def __init__(self, tree: Tree, mounted: Callable[[], None]) -> None:
        self._tree = tree
        self._mounted = mounted
        self.handles: dict[int, Handle] = {}
        self.folders: dict[int, str] = {}
        self._numbers = itertools.count(1)

    def init_with_config(self, conn_info: Any, config_3: Any) -> None:  # noqa: ANN401 - ctypes structures
        # libfuse refuses a mount whose option and connection disagree.
        conn_info.max_read = _MAX_TRANSFER
        config_3.kernel_cache = 1
        config_3.hard_remove = 1
        config_3.entry_timeout = _FOREVER
        config_3.negative_timeout = _FOREVER
        config_3.attr_timeout = _FOREVER
        self._mounted()

    def getattr(self, path: str | None, fh: int | None = None) -> dict[str, int]:
        attributes = (
            self.handles[fh].attributes()
            if path is None and fh
            else self._tree.node(path or "/").attributes()
        )
        return _stat(attributes)

    def fail(self, error: Error) -> None:
        self._tree.fail(error)

    def readlink(self, path: str) -> str:
        return self._tree.readlink(path)

    def open(self, path: str, flags: int) -> int:
        return self._number(self._tree.open(path, flags))

    def create(self, path: str, mode: int, fi: int | None = None) -> int:
        return self._number(self._tree.create(path))

    def _number(self, handle: Handle) -> int:
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
        self.folders[number] = path
        return number

    def readdir(self, path: str | None, fh: int) -> list[str]:
        return [".", "..", *(name for name, _ in self.listing(fh))]

    def listing(self, fh: int) -> Iterator[tuple[str, Attributes]]:
        return self._tree.listing(self.folders[fh])

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


def _stat(attributes: Attributes) -> dict[str, int]:
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


_UID = os.getuid()
_GID = os.getgid()


class _Fuse(mfusepy.FUSE):  # type: ignore[misc]
    """mfusepy with reads that decrypt or verify straight into the kernel's buffer, and listings with attributes."""

    operations: _Operations

    def _wrapper(self, func: Any, *args: Any, **kwargs: Any) -> int:  # noqa: ANN401 - mfusepy's own signature
        try:
            return func(*args, **kwargs) or 0
        except OSError as error:
            return -(error.errno or errno.EIO)
        except Error as error:
            self.operations.fail(error)
            return -errno.EIO
        except Exception as error:
            log.error(
                "file server: %s in %s", type(error).__name__, getattr(func, "__name__", "?"), exc_info=True
            )
            self.operations.fail(RuntimeSetupError(f"file server failed: {type(error).__name__}"))
            return -errno.EIO

    def read(self, path: bytes | None, buf: Any, size: int, offset: int, fip: Any) -> int:  # noqa: ANN401
        handle = self.operations.handles[fip.contents.fh]
        return handle.read_into(_view(buf, size), offset)

    def write(self, path: bytes | None, buf: Any, size: int, offset: int, fip: Any) -> int:  # noqa: ANN401
        handle = self.operations.handles[fip.contents.fh]
        return handle.write(_view(buf, size), offset)

    def truncate_fuse_3(self, path: bytes | None, length: int, fip: Any) -> int:  # noqa: ANN401
        # mfusepy leaves out the handle here, and a file that is open may have lost its name.
        return self.operations.truncate(
            path.decode() if path else None, length, fip.contents.fh if fip else None
        )

    def _readdir(self, path: bytes | None, buf: Any, filler: Any, offset: int, fip: Any) -> int:  # noqa: ANN401
        filler(buf, b".", None, 0, 0)
        filler(buf, b"..", None, 0, 0)
        entry = mfusepy.c_stat()
        for name, attributes in self.operations.listing(fip.contents.fh):
            mfusepy.set_st_attrs(entry, _stat(attributes), use_ns=True)
            if filler(buf, name.encode("utf-8", "surrogateescape"), entry, 0, _FILL_DIR_PLUS) != 0:
                break
        return 0


def _view(buf: Any, size: int) -> memoryview:  # noqa: ANN401 - a ctypes pointer
    address = ctypes.addressof(buf.contents)
    return memoryview((ctypes.c_char * size).from_address(address)).cast("B")


def serve(tree: Tree, mountpoint: str, mounted: Callable[[], None]) -> None:
    """Mount `tree` and serve it until it is unmounted. `mounted` is called once requests are answered.

    One thread: with several, the same requests took 1.9 times the processor time (`import torch`, 14,600 requests),
    spent on waiting for the interpreter's lock. Raises `RuntimeSetupError` where the kernel refuses the mount.
    """
    options: dict[str, Any] = {
        "foreground": True,
        "nothreads": True,
        "fsname": "lanthorn",
        "subtype": "lanthorn",
        "default_permissions": True,
        "max_read": _MAX_TRANSFER,
        "nodev": True,
        "nosuid": True,
    }
    try:
        _Fuse(_Operations(tree, mounted), mountpoint, **options)
    except RuntimeError as error:
        raise RuntimeSetupError("cannot mount the file server", hint="run `lanthorn doctor`") from error
