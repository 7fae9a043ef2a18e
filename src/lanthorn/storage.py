"""Files that appear complete or not at all: write beside, fsync, rename, fsync the folder."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from lanthorn.errors import StorageError

TEMPORARY_PREFIX = ".lanthorn-tmp-"


@contextlib.contextmanager
def storage_errors(action: str, path: Path | str) -> Iterator[None]:
    """Turn an `OSError` into one clear `StorageError` line: "cannot write x: no space left on device"."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        hint = "free some space and run it again" if error.errno == errno.ENOSPC else None
        raise StorageError(f"cannot {action} {path}: {reason}", hint=hint) from error


def fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class AtomicOutput:
    """A file being written beside its destination; `commit` puts it in place, anything else leaves no trace.

    With `force` false an existing destination is never replaced, not even one that appears while writing.
    Use as a context manager: leaving without `commit` removes the temporary file.
    """

    def __init__(self, destination: Path, *, mode: int = 0o644, force: bool = False) -> None:
        self.destination = destination
        self._force = force
        if not force and os.path.lexists(destination):
            raise StorageError(f"output exists: {destination}", hint="use --force to replace it")
        self.temporary = destination.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
        with storage_errors("write", destination):
            self.descriptor = os.open(
                self.temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode
            )

    def commit(self) -> None:
        """Make the bytes durable, then visible under the destination's name."""
        with storage_errors("write", self.destination):
            os.fsync(self.descriptor)
            if self._force:
                os.rename(self.temporary, self.destination)
            else:
                self._link_new()
            fsync_folder(self.destination.parent)
        self._close()

    def _link_new(self) -> None:
        try:
            os.link(self.temporary, self.destination)
        except FileExistsError as error:
            hint = "use --force to replace it"
            raise StorageError(f"output exists: {self.destination}", hint=hint) from error
        os.unlink(self.temporary)

    def abandon(self) -> None:
        """Remove the temporary file; harmless after `commit`."""
        if self.descriptor >= 0:
            self._close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.temporary)

    def _close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> AtomicOutput:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.abandon()


def write_atomically(destination: Path, data: bytes, *, mode: int = 0o644, force: bool = True) -> None:
    """Write `data` to `destination` completely or not at all."""
    with AtomicOutput(destination, mode=mode, force=force) as output:
        with storage_errors("write", destination):
            view = memoryview(data)
            while view:
                view = view[os.write(output.descriptor, view) :]
        output.commit()


def read_limited(path: Path, limit: int) -> bytes:
    """Read a small file whole; one above `limit` bytes is refused rather than loaded."""
    with storage_errors("read", path), open(path, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise StorageError(f"cannot read {path}: larger than the limit of {limit} bytes")
    return data
