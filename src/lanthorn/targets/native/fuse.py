"""Mount a `Tree` through libfuse 3 and mfusepy, and answer the kernel until it is unmounted.

Every failure becomes an errno. A check that failed (`lanthorn.errors.Error`) is reported to the tree's owner, which
ends the run, and reads as EIO meanwhile. The frequent requests work on the kernel's own buffers.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import stat
from collections.abc import Callable
from typing import Any

from lanthorn.errors import Error, RuntimeSetupError
from lanthorn.targets.native.libfuse import mfusepy
from lanthorn.targets.native.nodes import FIXED_TIME_NS, Attributes, ReadOnlyHandle
from lanthorn.targets.native.operations import MAX_TRANSFER, Operations, stat_fields
from lanthorn.targets.native.tree import Tree
from lanthorn.targets.native.trusted import VerifiedHandle
from lanthorn.targets.native.warming import Trace

_FILL_DIR_PLUS = 2
_BILLION = 10**9

log = logging.getLogger("lanthorn")


class _Fuse(mfusepy.FUSE):  # type: ignore[misc]
    """mfusepy with reads that decrypt or verify straight into the kernel's buffer, and listings with attributes."""

    operations: Operations

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

    def fgetattr(self, path: bytes | None, buf: Any, fip: Any) -> int:  # noqa: ANN401
        number = fip.contents.fh if fip else None
        _fill(buf.contents, self.operations.attributes(_text(path) if path else None, number))
        return 0

    def opendir(self, path: bytes, fip: Any) -> int:  # noqa: ANN401
        info = fip.contents
        name = _text(path)
        info.fh = self.operations.opendir(name)
        if self.operations.is_fixed(name):
            self.operations.trace.listed(name)
            info.keep_cache = 1
            if _CAN_CACHE_FOLDERS:
                info.cache_readdir = 1
        return 0

    def open(self, path: bytes, fip: Any) -> int:  # noqa: ANN401
        info = fip.contents
        name = _text(path)
        handle = self.operations.handle(name, info.flags)
        if isinstance(handle, VerifiedHandle):
            handle.path = name
        info.fh = self.operations.number(handle)
        if _CAN_SKIP_FLUSH and isinstance(handle, ReadOnlyHandle):
            info.noflush = 1
        return 0

    def read(self, path: bytes | None, buf: Any, size: int, offset: int, fip: Any) -> int:  # noqa: ANN401
        handle = self.operations.handles[fip.contents.fh]
        if isinstance(handle, VerifiedHandle):
            self.operations.trace.read(handle.path, offset, size)
        return handle.read_into(_view(buf, size), offset)

    def write(self, path: bytes | None, buf: Any, size: int, offset: int, fip: Any) -> int:  # noqa: ANN401
        handle = self.operations.handles[fip.contents.fh]
        return handle.write(_view(buf, size), offset)

    def truncate_fuse_3(self, path: bytes | None, length: int, fip: Any) -> int:  # noqa: ANN401
        # mfusepy leaves out the handle here, and a file that is open may have lost its name.
        number = fip.contents.fh if fip else None
        return self.operations.truncate(_text(path) if path else None, length, number)

    def _readdir(self, path: bytes | None, buf: Any, filler: Any, offset: int, fip: Any) -> int:  # noqa: ANN401
        # With offsets libfuse gives every name an inode at once, so that the kernel need not look each one up.
        entry = mfusepy.c_stat()
        for number, (name, attributes) in enumerate(
            self.operations.listing(fip.contents.fh)[offset:], offset + 1
        ):
            _fill(entry, attributes)
            if filler(buf, name.encode("utf-8", "surrogateescape"), entry, number, _FILL_DIR_PLUS) != 0:
                break
        return 0


# One request less for each file that is only read.
_CAN_SKIP_FLUSH = hasattr(mfusepy.fuse_file_info, "noflush")
_CAN_CACHE_FOLDERS = hasattr(mfusepy.fuse_file_info, "cache_readdir")
_STAT_SIZE = ctypes.sizeof(mfusepy.c_stat)
_TEMPLATE = mfusepy.c_stat()
mfusepy.set_st_attrs(_TEMPLATE, stat_fields(Attributes(stat.S_IFREG, 0)), use_ns=True)
_TEMPLATE_AT = ctypes.addressof(_TEMPLATE)


def _fill(entry: Any, attributes: Attributes) -> None:  # noqa: ANN401 - a ctypes structure
    """Write `attributes` over a copy of the template: a third of the time of setting every field by name."""
    ctypes.memmove(ctypes.addressof(entry), _TEMPLATE_AT, _STAT_SIZE)
    mode, size, modified_ns = attributes
    entry.st_mode = mode
    entry.st_size = size
    entry.st_blocks = (size + 511) >> 9
    if stat.S_ISDIR(mode):
        entry.st_nlink = 2
    if modified_ns != FIXED_TIME_NS:
        for time in (entry.st_mtimespec, entry.st_atimespec, entry.st_ctimespec):
            time.tv_sec, time.tv_nsec = divmod(modified_ns, _BILLION)


def _text(path: bytes) -> str:
    """Decode a name as mfusepy does everywhere else: what is no UTF-8 survives the way there and back."""
    return path.decode("utf-8", "surrogateescape")


def _view(buf: Any, size: int) -> memoryview:  # noqa: ANN401 - a ctypes pointer
    address = ctypes.addressof(buf.contents)
    return memoryview((ctypes.c_char * size).from_address(address)).cast("B")


def serve(tree: Tree, mountpoint: str, mounted: Callable[[], None], trace: Trace) -> None:
    """Mount `tree` and serve it until it is unmounted. `mounted` is called once requests are answered.

    What is read of trusted files goes into `trace`.

    One thread: with several, the same `import torch` took 1.9 times the processor time, spent on waiting for the
    interpreter's lock. Raises `RuntimeSetupError` where the kernel refuses the mount.
    """
    options: dict[str, Any] = {
        "foreground": True,
        "nothreads": True,
        "fsname": "lanthorn",
        "subtype": "lanthorn",
        "default_permissions": True,
        "max_read": MAX_TRANSFER,
        "nodev": True,
        "nosuid": True,
    }
    operations = Operations(tree, mounted, trace)
    try:
        _Fuse(operations, mountpoint, **options)
    except RuntimeError as error:
        # A mount that is taken down while a request is on its way ends with an error of the read: nothing is amiss.
        if operations.answered:
            return
        raise RuntimeSetupError("cannot mount the file server", hint="run `lanthorn doctor`") from error
