"""Protected outputs: complete or absent, under a key of this run alone.

What the program writes goes, encrypted, into a temporary file beside the destination and is renamed into place on
close or fsync. An output path starts absent, whatever the host has there; what was written is remembered by version
id, so that a host which puts an older version back is found out when the program reads it again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import threading
import time
from pathlib import Path

from lanthorn.errors import IntegrityError, ManifestError
from lanthorn.keys import WrapKey
from lanthorn.protected import FileRange, ProtectedEditor, ProtectedReader
from lanthorn.storage import TEMPORARY_PREFIX, fsync_folder
from lanthorn.targets.native.nodes import Attributes, Handle

_COPY_BYTES = 8 << 20


class OutputFile:
    """One output file as a node: a published version, a working copy, or both in turn."""

    def __init__(self, host: Path, path: str, key: WrapKey) -> None:
        """Start absent: nothing is read from `host`; `path` is what gets embedded."""
        self.host = host
        self.path = path
        self.version: str | None = None
        self._key = key
        self._work: _WorkingCopy | None = None
        self._reader: ProtectedReader | None = None
        self._published: FileRange | None = None
        self._modified_ns = time.time_ns()
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
        with self._lock:
            self.discard()
            self._work = _WorkingCopy.create(self.host, self.path, self._key)
            self._modified_ns = time.time_ns()

    def read_into(self, buffer: memoryview, offset: int) -> int:
        with self._lock:
            if self._work is None:
                return self._open_published().read_into(buffer, offset)
            data = self._work.editor.read(len(buffer), offset)
            buffer[: len(data)] = data
            return len(data)

    def write(self, data: memoryview, offset: int) -> int:
        with self._lock:
            written = self._change().write(data, offset)
            self._modified_ns = time.time_ns()
            return written

    def truncate(self, size: int) -> None:
        with self._lock:
            self._change().truncate(size)
            self._modified_ns = time.time_ns()

    def rename(self, host: Path, path: str) -> None:
        """Publish under another name: the path is part of the format, so the metadata is written anew."""
        with self._lock:
            old = self.host if self.version is not None else None
            work = self._work_copy()
            self.host, self.path = host, path
            work.move(host, path)
            self.commit()
            if old is not None:
                old.unlink(missing_ok=True)

    def commit(self) -> None:
        """Make what was written durable and visible under the output's name."""
        with self._lock:
            if self._work is None:
                return
            self._close_published()
            self.version = self._work.publish(self.host)
            self._published = self._work.store
            self._work = None

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

    def _change(self) -> ProtectedEditor:
        return self._work_copy().editor

    def _work_copy(self) -> _WorkingCopy:
        if self._work is None:
            self._open_published()
            if self._published is None or self.version is None:
                raise OSError(errno.EIO, "output has no published version")
            self._work = _WorkingCopy.copy_of(self._published, self.version, self.host, self.path, self._key)
        return self._work

    def _open_published(self) -> ProtectedReader:
        if self._reader is None:
            if self.version is None:
                raise OSError(errno.ENOENT, "output was removed")
            if self._published is None:
                self._published = _reopen(self.host, self.path)
            self._reader = ProtectedReader.open(
                self._published, self._key, path=self.path, version=self.version
            )
        return self._reader

    def _close_published(self) -> None:
        if self._published is not None:
            self._published.close()
        self._published = self._reader = None

    def release(self) -> None:
        """Give the file descriptor back when nobody has the file open."""
        with self._lock:
            self._close_published()


class _WorkingCopy:
    """A complete-or-absent new version: an editor over a temporary file that only this process can name."""

    def __init__(self, temporary: Path, store: FileRange, editor: ProtectedEditor) -> None:
        self.temporary = temporary
        self.store = store
        self.editor = editor

    @classmethod
    def create(cls, host: Path, path: str, key: WrapKey) -> _WorkingCopy:
        temporary, store = _temporary_beside(host)
        return cls(temporary, store, ProtectedEditor.create(store, key, path))

    @classmethod
    def copy_of(
        cls, published: FileRange, version: str, host: Path, path: str, key: WrapKey
    ) -> _WorkingCopy:
        temporary, store = _temporary_beside(host)
        offset = 0
        while data := published.pread(_COPY_BYTES, offset):
            store.pwrite(data, offset)
            offset += len(data)
        if ProtectedReader.open(store, key, path=path, version=version).version != version:
            raise IntegrityError(f"{path} changed on the host since this run wrote it")
        return cls(temporary, store, ProtectedEditor.open(store, key, path))

    def move(self, host: Path, path: str) -> None:
        self.editor.path = path
        moved = host.parent / self.temporary.name
        if moved != self.temporary:
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
        self.read_into = node.read_into
        self.write = node.write
        self.truncate = node.truncate
        self.flush = node.commit
        self.attributes = node.attributes

    def close(self) -> None:
        self._node.commit()
        self._node.release()


def _temporary_beside(host: Path) -> tuple[Path, FileRange]:
    temporary = host.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    os.close(descriptor)
    return temporary, FileRange.open(temporary, writable=True)


def _reopen(host: Path, path: str) -> FileRange:
    try:
        return FileRange.open(host)
    except OSError as error:
        raise ManifestError(f"{path} was written by this run but is withheld by the host") from error


class OutputFolder:
    """A protected folder being written: staged beside its destination, put in place whole when the run ends."""

    def __init__(self, host: Path, path: str, key: WrapKey) -> None:
        self.host = host
        self.path = path
        self.key = key
        self.staging = host.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
        os.mkdir(self.staging, 0o755)

    def publish(self, write_index: FolderIndexWriter) -> str:
        """Write the index, make all durable, swap the folder in. Return the index's version id."""
        version = write_index(self)
        fsync_folder(self.staging)
        aside = None
        if os.path.lexists(self.host):
            aside = self.host.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
            os.rename(self.host, aside)
        os.rename(self.staging, self.host)
        fsync_folder(self.host.parent)
        if aside is not None:
            _remove(aside)
        return version

    def discard(self) -> None:
        shutil.rmtree(self.staging, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
