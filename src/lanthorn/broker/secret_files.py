"""Small secret files of the broker: mode 0600 in a 0700 folder, and refused when others may read them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from lanthorn.errors import StorageError
from lanthorn.storage import read_limited, storage_errors, write_atomically

SECRET_MODE = 0o600
FOLDER_MODE = 0o700
MAX_SECRET_FILE = 64 * 1024


def make_private_folder(folder: Path) -> None:
    """Make `folder` (and its parents) readable by its owner alone."""
    with storage_errors("create", folder):
        folder.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
        os.chmod(folder, FOLDER_MODE)


def write_secret(path: Path, data: bytes) -> None:
    """Write a new secret file. Raises `StorageError` if there is one already."""
    write_atomically(path, data, mode=SECRET_MODE, force=False)


def read_secret(path: Path) -> bytes:
    """Read a secret file. Raises `StorageError` if its group or others have any right to it."""
    with storage_errors("read", path):
        mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & 0o077:
        raise StorageError(
            f"{path} is open to others: expected mode 0600, got {mode:04o}", hint=f"chmod 600 {path}"
        )
    return read_limited(path, MAX_SECRET_FILE)
