"""Encrypt and decrypt one file on disk: the output appears complete or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from lanthorn.keys import WrapKey
from lanthorn.protected._range import FileRange
from lanthorn.protected.parallel import Progress, decrypt_range, encrypt_range, no_progress
from lanthorn.protected.reader import ProtectedReader
from lanthorn.storage import AtomicOutput

CIPHERTEXT_MODE: Final = 0o644
PLAINTEXT_MODE: Final = 0o600


def encrypt_file(
    source: Path,
    destination: Path,
    key: WrapKey,
    path: str,
    *,
    force: bool = False,
    progress: Progress = no_progress,
) -> str:
    """Encrypt `source` to `destination`, embed `path`, and return the version id.

    An existing destination is replaced only with `force`. The source's mode and times are not kept.
    Raises `UsageError`, `FormatError` or `StorageError`; then no trace is left.
    """
    with (
        FileRange.open(source) as plain,
        AtomicOutput(destination, mode=CIPHERTEXT_MODE, force=force) as output,
    ):
        store = FileRange(output.descriptor, str(destination))
        version = encrypt_range(plain, store, key, path, progress=progress)
        output.commit()
    return version


def decrypt_file(
    source: Path,
    destination: Path,
    key: WrapKey,
    *,
    path: str | None = None,
    version: str | None = None,
    force: bool = False,
    progress: Progress = no_progress,
) -> ProtectedReader:
    """Decrypt `source` to `destination` (mode 0600), and return the reader for its path, size and version id.

    All of the file is verified before the destination appears. The embedded path and the version id are
    compared with `path` and `version` unless those are None. Raises `FormatError`, `IntegrityError` or
    `StorageError`.
    """
    with FileRange.open(source) as store:
        reader = ProtectedReader.open(store, key, path=path, version=version, name=str(source))
        with AtomicOutput(destination, mode=PLAINTEXT_MODE, force=force) as output:
            decrypt_range(reader, FileRange(output.descriptor, str(destination)), progress=progress)
            output.commit()
    return reader
