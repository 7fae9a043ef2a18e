"""The folder beside a lock, `lanthorn.lock.d`: lists, hash trees and bytecode, each named by its list's
digest.

Nothing in it is trusted: a list must have the digest that the lock gives, leaves must lead to a root in that
list.
"""

from __future__ import annotations

import hmac
import os
from pathlib import Path

from lanthorn.errors import ManifestError, StorageError
from lanthorn.job.lock import RootSummary
from lanthorn.job.trusted import digest_of
from lanthorn.storage import read_limited, storage_errors, write_atomically

MAX_LIST_BYTES = 256 << 20
MAX_TREES_BYTES = 256 << 20
SUFFIXES = (".list", ".trees", ".pycs")


class LockStore:
    """The files of one `lanthorn.lock.d`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, digest: str, suffix: str) -> Path:
        return self.folder / (digest + suffix)

    def list_of(self, summary: RootSummary) -> bytes:
        """Return the bytes of a root's list.

        Raises `ManifestError` naming the root when the file is absent or is not the one locked.
        """
        path = self.path(summary.digest, ".list")
        data = self._read(summary, path, MAX_LIST_BYTES)
        found = digest_of(data)
        if not hmac.compare_digest(found, summary.digest):
            raise ManifestError(
                f"the list of root {summary.name!r} was changed: {path}: "
                f"expected sha256 {summary.digest}, got {found}"
            )
        return data

    def trees_of(self, summary: RootSummary) -> bytes:
        """Return the leaves beside a root's list. They are checked against the list where they are used."""
        return self._read(summary, self.path(summary.digest, ".trees"), MAX_TREES_BYTES)

    def has(self, summary: RootSummary) -> bool:
        return self.path(summary.digest, ".list").is_file()

    def write(self, digest: str, suffix: str, data: bytes) -> None:
        with storage_errors("make", self.folder):
            self.folder.mkdir(exist_ok=True)
        path = self.path(digest, suffix)
        if not _holds(path, data):
            write_atomically(path, data)

    def remove_stale(self, keep: set[str]) -> int:
        """Remove lists, trees and packs whose digest is not in `keep`; return how many files went."""
        stale = [
            entry
            for entry in self.folder.iterdir()
            if entry.suffix in SUFFIXES and entry.stem not in keep and not entry.is_dir()
        ]
        for path in stale:
            with storage_errors("remove", path):
                os.unlink(path)
        return len(stale)

    def _read(self, summary: RootSummary, path: Path, limit: int) -> bytes:
        try:
            return read_limited(path, limit)
        except StorageError as error:
            hint = "copy the folder lanthorn.lock.d together with lanthorn.lock"
            raise ManifestError(f"root {summary.name!r}: {error.message}", hint=hint) from error


def _holds(path: Path, data: bytes) -> bool:
    """Whether a file has these very bytes: comparing 160 MB of bytecode is quicker than writing them."""
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except OSError:
        return False
