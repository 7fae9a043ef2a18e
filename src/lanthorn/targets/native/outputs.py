"""One protected output: complete or absent, under a key of this run alone.

What the program writes goes, encrypted, into a temporary file beside the destination and is renamed into place on
close or fsync. What was written is remembered by version id, so that a host which puts an older version back is
found out when the program reads it again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lanthorn.errors import ManifestError, StorageError
from lanthorn.keys import WrapKey
from lanthorn.protected import FileRange, ProtectedEditor, ProtectedReader
from lanthorn.storage import TEMPORARY_PREFIX, fsync_folder
from lanthorn.targets.native.nodes import Attributes, Handle

_COPY_BYTES = 8 << 20


class OutputFile:
    """One output file as a node: a published version, a working copy, or each in turn. Safe for threads.

    Starts absent: nothing is ever read from `host` that this object did not write. `path` is what gets embedded.
    While `may_publish` says no, nothing becomes visible and writes are refused.
    """

    def __init__(self, host: Path, path: str, key: WrapKey, may_publish: Callable[[], bool]) -> None:
        self.host = host
        self.path = path
        self.key = key
        self.version: str | None = None
        self._may_publish = may_publish
        self._work: _WorkingCopy | None = None
        self._published: FileRange | None = None
        self._reader: ProtectedReader | None = None
        self._modified_ns = time.time_ns()
        self._errno = errno.EIO
        self._lock = threading.RLock()

    @property
    def size(self) -> int:
        with self._lock:
            return self._work.editor.size if self._work else self._open_published().size

    def attributes(self) -> Attributes:
        return Attributes(stat.S_IFREG | 0o644, self.size, self._modified_ns)

    def open(self, flags: int) -> Handle:
        if flags & os.O_TRUNC:
            self.start_empty()
        return _OutputHandle(self)

    def start_empty(self) -> None:
        """Begin a new, empty version; the published one stays until this one is complete."""
        with self._lock, self._system_errors():
            self.discard()
            self._work = _WorkingCopy.create(self.host, self.path, self.key)
            self._modified_ns = time.time_ns()

    def read_into(self, buffer: memoryview, offset: int) -> int:
        with self._lock, self._system_errors():
            source = self._work.editor if self._work else self._open_published()
            return source.read_into(buffer, offset)

    def write(self, data: memoryview, offset: int) -> int:
        with self._lock, self._system_errors():
            written = self._working_copy().editor.write(data, offset)
            self._modified_ns = time.time_ns()
            return written

    def truncate(self, size: int) -> None:
        with self._lock, self._system_errors():
            self._working_copy().editor.truncate(size)
            self._modified_ns = time.time_ns()

    def rename(self, host: Path, path: str) -> None:
        """Publish under another name: the path is part of the format, so the metadata is written anew."""
        with self._lock, self._system_errors():
            before = self.host if self.version is not None else None
            self._working_copy().move(host, path)
            self.host, self.path = host, path
            self.commit()
            if before is not None and before != host:
                before.unlink(missing_ok=True)

    def commit(self) -> None:
        """Make what was written durable and visible under the output's name."""
        with self._lock, self._system_errors():
            if self._work is None:
                return
            if not self._may_publish():
                raise OSError(errno.EIO, "the run was ended")
            work, self._work = self._work, None
            try:
                version = work.publish(self.host)
            except BaseException:
                work.discard()
                raise
            self._close_published()
            self.version, self._published = version, work.store

    def remove(self) -> None:
        """Forget the output, published or not."""
        with self._lock:
            self.discard()
            self._close_published()
            if self.version is not None:
                self.host.unlink(missing_ok=True)
                self.version = None

    def discard(self) -> None:
        """Drop the working copy; the published version is untouched."""
        with self._lock:
            if self._work is not None:
                self._work.discard()
                self._work = None

    def release(self) -> None:
        """Give the file descriptor back when nobody has the file open."""
        with self._lock:
            self._close_published()

    @contextlib.contextmanager
    def _system_errors(self) -> Iterator[None]:
        """Let the program see a full or broken disk as the errno it would see without us; the run goes on.

        A file that failed once fails the same way again, as it would on a full disk.
        """
        try:
            yield
        except StorageError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno:
                self._errno = error.__cause__.errno
            raise OSError(self._errno, error.message) from error

    def _working_copy(self) -> _WorkingCopy:
        if not self._may_publish():
            raise OSError(errno.EIO, "the run was ended")
        if self._work is None and self.version is None:
            self._work = _WorkingCopy.create(self.host, self.path, self.key)
        elif self._work is None:
            version = self._open_published().version
            if self._published is None:
                raise OSError(errno.EIO, "output is not open")
            self._work = _WorkingCopy.copy_of(self._published, version, self.host, self.path, self.key)
        return self._work

    def _open_published(self) -> ProtectedReader:
        if self._reader is None:
            if self.version is None:
                raise OSError(errno.ENOENT, "output was removed")
            if self._published is None:
                self._published = _reopen(self.host, self.path)
            self._reader = ProtectedReader.open(
                self._published, self.key, path=self.path, version=self.version
            )
        return self._reader

    def _close_published(self) -> None:
        if self._published is not None:
            self._published.close()
        self._published = self._reader = None


class _WorkingCopy:
    """A complete-or-absent new version: an editor over a temporary file that only this process knows."""

    def __init__(self, temporary: Path, store: FileRange, editor: ProtectedEditor) -> None:
        self.temporary = temporary
        self.store = store
        self.editor = editor

    @classmethod
    def create(cls, host: Path, path: str, key: WrapKey) -> _WorkingCopy:
        temporary, store = _temporary_beside(host, path)
        return cls(temporary, store, ProtectedEditor.create(store, key, path))

    @classmethod
    def copy_of(cls, published: FileRange, version: str, host: Path, path: str, key: WrapKey) -> _WorkingCopy:
        """Copy the ciphertext and check that it still is `version`: the host had it meanwhile."""
        temporary, store = _temporary_beside(host, path)
        offset = 0
        while data := published.pread(_COPY_BYTES, offset):
            offset += store.pwrite(data, offset)
        ProtectedReader.open(store, key, path=path, version=version)
        return cls(temporary, store, ProtectedEditor.open(store, key, path))

    def move(self, host: Path, path: str) -> None:
        self.editor.rename(path)
        moved = host.parent / self.temporary.name
        os.rename(self.temporary, moved)
        self.temporary = moved

    def publish(self, host: Path) -> str:
        version = self.editor.flush()
        self.store.fsync()
        os.rename(self.temporary, host)
        fsync_folder(host.parent)
        return version

    def discard(self) -> None:
        self.store.close()
        self.temporary.unlink(missing_ok=True)


class _OutputHandle:
    def __init__(self, node: OutputFile) -> None:
        self._node = node
        self._abandoned = False
        self.read_into = node.read_into
        self.write = node.write
        self.truncate = node.truncate
        self.attributes = node.attributes

    def flush(self) -> None:
        self._abandoned = False
        self._node.commit()

    def abandon(self) -> None:
        self._abandoned = True

    def close(self) -> None:
        if self._abandoned:
            self._node.discard()
        else:
            self._node.commit()
        self._node.release()


def _temporary_beside(host: Path, path: str) -> tuple[Path, FileRange]:
    host.parent.mkdir(parents=True, exist_ok=True)
    temporary = host.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    store = FileRange.create(temporary, 0o644, name=path)
    # Held while this run lives, so that the next run can tell a leftover from work in progress.
    fcntl.flock(store.fd, fcntl.LOCK_SH)
    return temporary, store


def _reopen(host: Path, path: str) -> FileRange:
    try:
        return FileRange.open(host)
    except StorageError as error:
        raise ManifestError(f"{path} was written by this run but is withheld by the host") from error


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of runs that were killed; those of a living run are locked and stay."""
    for leftover in folder.glob(f"{TEMPORARY_PREFIX}*"):
        with contextlib.suppress(OSError):
            if leftover.is_file():
                _remove_unlocked(leftover)


def _remove_unlocked(leftover: Path) -> None:
    descriptor = os.open(leftover, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        leftover.unlink()
    finally:
        os.close(descriptor)
