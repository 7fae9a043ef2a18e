"""Trusted files: every 64 KiB chunk is checked against the lock's hash tree each time it is read from the host.

Nothing here depends on the host's disk staying as it was, and nothing is hashed that the program does not read.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable
from hmac import compare_digest

from lanthorn.errors import IntegrityError, ManifestError
from lanthorn.job.tree import CHUNK
from lanthorn.targets.native.nodes import Attributes, Handle, ReadOnlyHandle

_DIGEST = 32
# Small reads within one chunk (page faults, neighbouring bytecode) hash it once; 64 chunks are 4 MiB.
_CACHED_CHUNKS = 64


class VerifiedFile:
    """A host file of which only bytes that the lock names ever come out. Safe for several threads."""

    def __init__(self, host: str, size: int, leaves: bytes | memoryview, name: str) -> None:
        """Open `host`. Raises `ManifestError` where it is withheld, or is no longer a regular file."""
        self.size = size
        self._leaves = leaves
        self._name = name
        self._chunks: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._descriptor = _open_regular(host, name)

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` from `offset`, up to the end of the file; every byte returned was checked.

        Raises `IntegrityError` naming the file, the expected and the found hash.
        """
        wanted = min(len(buffer), self.size - offset)
        done = 0
        while done < wanted:
            index, skip = divmod(offset + done, CHUNK)
            whole = (wanted - done) // CHUNK if offset + wanted < self.size else -(-(wanted - done) // CHUNK)
            if skip == 0 and whole:
                done += self._read_whole(buffer[done:wanted], index, whole)
            else:
                part = self._chunk(index)[skip : skip + wanted - done]
                buffer[done : done + len(part)] = part
                done += len(part)
        return max(done, 0)

    def _read_whole(self, buffer: memoryview, index: int, count: int) -> int:
        """Read `count` chunks straight into the kernel's buffer, and check them there."""
        length = min(count * CHUNK, self.size - index * CHUNK, len(buffer))
        target = buffer[:length]
        got = os.preadv(self._descriptor, [target], index * CHUNK)
        if got != length:
            raise self._truncated(index * CHUNK + got)
        for number in range(count):
            self._check(index + number, target[number * CHUNK : (number + 1) * CHUNK])
        return length

    def _chunk(self, index: int) -> bytes:
        with self._lock:
            cached = self._chunks.get(index)
            if cached is not None:
                self._chunks.move_to_end(index)
                return cached
        data = os.pread(self._descriptor, CHUNK, index * CHUNK)
        if len(data) != min(CHUNK, self.size - index * CHUNK):
            raise self._truncated(index * CHUNK + len(data))
        self._check(index, memoryview(data))
        with self._lock:
            self._chunks[index] = data
            if len(self._chunks) > _CACHED_CHUNKS:
                self._chunks.popitem(last=False)
        return data

    def _check(self, index: int, data: memoryview) -> None:
        digest = hashlib.sha256(b"\0")
        digest.update(data)
        found = digest.digest()
        expected = bytes(self._leaves[index * _DIGEST : (index + 1) * _DIGEST])
        if not compare_digest(found, expected):
            raise IntegrityError(
                f"{self._name} differs from the lock at byte {index * CHUNK}: "
                f"expected chunk hash {expected.hex()}, found {found.hex()}"
            )

    def _truncated(self, end: int) -> IntegrityError:
        return IntegrityError(f"{self._name} differs from the lock: expected {self.size} bytes, found {end}")

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _open_regular(host: str, name: str) -> int:
    # A host can put a FIFO or a link where the file was: neither may block or lead elsewhere.
    try:
        descriptor = os.open(host, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        reason = (error.strerror or "unreadable").lower()
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        raise ManifestError(
            f"{name} is named by the lock but withheld by the host: {host}: {reason}"
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ManifestError(f"{name} is named by the lock but {host} is not a regular file")
    return descriptor


class TrustedFile:
    """A whole host file as a node."""

    __slots__ = ("_host", "_leaves", "_mode", "_name", "_size")

    def __init__(
        self, host: str, size: int, mode: int, leaves: Callable[[], bytes | memoryview], name: str
    ) -> None:
        self._host = host
        self._size = size
        self._mode = stat.S_IFREG | (mode & 0o555)
        self._leaves = leaves
        self._name = name

    def attributes(self) -> Attributes:
        return Attributes(self._mode, self._size)

    def open(self, flags: int) -> Handle:
        file = VerifiedFile(self._host, self._size, self._leaves(), self._name)
        return VerifiedHandle(file, 0, self._size, self.attributes(), owned=True)


class TrustedSlice:
    """A range of a larger verified file as a node: bytecode lies in one pack."""

    __slots__ = ("_attributes", "_offset", "_pack")

    def __init__(self, pack: Callable[[], VerifiedFile], offset: int, size: int, mode: int) -> None:
        self._pack = pack
        self._offset = offset
        self._attributes = Attributes(stat.S_IFREG | (mode & 0o555), size)

    def attributes(self) -> Attributes:
        return self._attributes

    def open(self, flags: int) -> Handle:
        return VerifiedHandle(
            self._pack(), self._offset, self._attributes.size, self._attributes, owned=False
        )


class VerifiedHandle(ReadOnlyHandle):
    """An open trusted file. `path` is the name it was opened by, for whoever wants to remember what was read."""

    path = ""

    def __init__(
        self, file: VerifiedFile, start: int, size: int, attributes: Attributes, *, owned: bool
    ) -> None:
        self._file = file
        self._start = start
        self._size = size
        self._attributes = attributes
        self._owned = owned

    def read_into(self, buffer: memoryview, offset: int) -> int:
        length = min(len(buffer), self._size - offset)
        if length <= 0:
            return 0
        return self._file.read_into(buffer[:length], self._start + offset)

    def close(self) -> None:
        if self._owned:
            self._file.close()

    def attributes(self) -> Attributes:
        return self._attributes
