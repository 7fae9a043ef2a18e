"""Hash many files at once: hashlib lets go of the interpreter lock, so threads use every core."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from lanthorn.errors import StorageError
from lanthorn.job.tree import Digests, digests_of
from lanthorn.storage import storage_errors


def hash_files(paths: Iterable[str]) -> dict[str, tuple[Digests, bool]]:
    """Return size, SHA-256, leaves and whether it is executable, for each path.

    Raises `StorageError` for a file that cannot be read, or that changed while it was.
    """
    ordered = list(paths)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return dict(zip(ordered, pool.map(_hash, ordered), strict=True))


def _hash(path: str) -> tuple[Digests, bool]:
    with storage_errors("read", path):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            before = os.fstat(descriptor)
            digests = digests_of(descriptor)
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    if digests.size != after.st_size or before.st_mtime_ns != after.st_mtime_ns:
        raise StorageError(f"{path} changed while it was read")
    return digests, bool(before.st_mode & 0o111)
