"""A folder that appears complete or not at all: filled beside its destination, flushed, renamed."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path

from lanthorn.errors import StorageError
from lanthorn.storage import TEMPORARY_PREFIX, fsync_folder, storage_errors


class AtomicFolder:
    """Use as a context manager and fill `temporary`; leaving without `commit` removes it.

    With `force` what stands at the destination is moved aside, and removed when the new folder is in its
    place. Without it an existing destination is refused, but an empty folder that appears meanwhile is
    replaced.
    """

    def __init__(self, destination: Path, *, mode: int = 0o755, force: bool = False) -> None:
        self.destination = destination
        self._force = force
        if not force and os.path.lexists(destination):
            raise StorageError(f"output exists: {destination}", hint="use --force to replace it")
        self.temporary = self._beside()
        with storage_errors("write", destination):
            os.mkdir(self.temporary, mode)

    def make_folders(self, relative: str, mode: int) -> Path:
        """Make the folder `relative` inside, and those above it; return its path."""
        folder = self.temporary
        with storage_errors("write", self.destination / relative):
            for part in relative.split("/") if relative else ():
                folder = folder / part
                with contextlib.suppress(FileExistsError):
                    os.mkdir(folder, mode)
        return folder

    def commit(self) -> None:
        """Make everything durable (the files in it are fsynced by who wrote them), then visible."""
        with storage_errors("write", self.destination):
            for folder, _, _ in os.walk(self.temporary, topdown=False):
                fsync_folder(Path(folder))
            aside = self._move_aside()
            try:
                os.rename(self.temporary, self.destination)
            except BaseException:
                if aside:
                    os.rename(aside, self.destination)
                raise
            fsync_folder(self.destination.parent)
            if aside:
                _remove(aside)

    def _move_aside(self) -> Path | None:
        if not self._force or not os.path.lexists(self.destination):
            return None
        aside = self._beside()
        os.rename(self.destination, aside)
        return aside

    def _beside(self) -> Path:
        return self.destination.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"

    def abandon(self) -> None:
        """Remove what was filled; harmless after `commit`."""
        if os.path.lexists(self.temporary):
            shutil.rmtree(self.temporary, ignore_errors=True)

    def __enter__(self) -> AtomicFolder:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.abandon()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
