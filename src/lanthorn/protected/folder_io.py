"""Encrypt and decrypt folders on disk.

On the host a protected folder holds its files, at their paths, and the index. Links and empty folders are
in the index alone: the host need not know of them and cannot change them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lanthorn.errors import FormatError, IntegrityError, UsageError
from lanthorn.keys import WrapKey
from lanthorn.protected._range import FileRange
from lanthorn.protected.atomic_folder import AtomicFolder
from lanthorn.protected.files import CIPHERTEXT_MODE, PLAINTEXT_MODE
from lanthorn.protected.folder import (
    INDEX_NAME,
    MAX_DEPTH,
    MAX_ENTRIES,
    Entry,
    FileEntry,
    FolderEntry,
    FolderIndex,
    LinkEntry,
    index_path,
    link_stays_inside,
)
from lanthorn.protected.parallel import Progress, decrypt_range, encrypt_range, no_progress
from lanthorn.protected.reader import ProtectedReader
from lanthorn.storage import storage_errors

_CIPHERTEXT_FOLDER_MODE: Final = 0o755
_PLAINTEXT_FOLDER_MODE: Final = 0o700


@dataclass(frozen=True, slots=True)
class Listing:
    """What a folder on disk holds, by relative path."""

    files: dict[str, int]
    links: dict[str, str]
    folders: list[str]

    @property
    def size(self) -> int:
        return sum(self.files.values())


def list_folder(folder: Path) -> Listing:
    """Walk a folder without following links. Raises `UsageError` for names and kinds we cannot keep."""
    listing = Listing({}, {}, [])
    _walk(folder, "", listing)
    if len(listing.files) + len(listing.links) + len(listing.folders) > MAX_ENTRIES:
        raise UsageError(f"{folder} is over a limit: expected at most {MAX_ENTRIES} entries")
    return listing


def _walk(top: Path, relative: str, listing: Listing) -> None:
    if relative.count("/") + 1 >= MAX_DEPTH:
        raise UsageError(f"{top} is over a limit: expected at most {MAX_DEPTH} folders inside one another")
    for entry in _scan(top / relative):
        path = f"{relative}/{entry.name}" if relative else entry.name
        if not _is_utf8(entry.name):
            raise UsageError(f"name is not UTF-8: {os.fsencode(entry.path)!r}", hint="rename it")
        with storage_errors("read", entry.path):
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                listing.links[path] = os.readlink(entry.path)
                continue
        if stat.S_ISDIR(status.st_mode):
            listing.folders.append(path)
            _walk(top, path, listing)
        elif stat.S_ISREG(status.st_mode):
            listing.files[path] = status.st_size
        else:
            raise UsageError(f"neither file, folder nor link: {entry.path}")


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    with storage_errors("read", folder), os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def encrypt_folder(
    source: Path,
    destination: Path,
    key: WrapKey,
    folder: str,
    *,
    force: bool = False,
    progress: Progress = no_progress,
) -> FolderIndex:
    """Encrypt all of `source` to the new folder `destination`, and return its index.

    `folder` is the embedded path of the folder; files carry it before their own. Modes, times and owners
    are not kept. Raises `UsageError` for a link that is absolute or leaves the folder, and as
    `encrypt_file` does.
    """
    listing = list_folder(source)
    entries = _plain_entries(source, listing)
    with AtomicFolder(destination, mode=_CIPHERTEXT_FOLDER_MODE, force=force) as output:
        for path in listing.files:
            parent = output.make_folders(path.rpartition("/")[0], _CIPHERTEXT_FOLDER_MODE)
            with FileRange.open(source / path) as plain, _new_file(parent, path, CIPHERTEXT_MODE) as store:
                version = encrypt_range(plain, store, key, f"{folder}/{path}", progress=progress)
                entries[path] = FileEntry(plain.size(), version)
                store.fsync()
        with _new_file(output.temporary, INDEX_NAME, CIPHERTEXT_MODE) as store:
            index = FolderIndex.build(entries, store, key, folder=folder)
            store.fsync()
        output.commit()
    return index


def _new_file(parent: Path, path: str, mode: int) -> FileRange:
    return FileRange.create(parent / path.rpartition("/")[2], mode, name=path)


def _plain_entries(source: Path, listing: Listing) -> dict[str, Entry]:
    """Return the entries for links and empty folders; refuse what a protected folder cannot hold."""
    for path in (*listing.files, *listing.links, *listing.folders):
        if path.rpartition("/")[2] == INDEX_NAME:
            raise UsageError(
                f"the name {INDEX_NAME} is ours: {source / path}", hint="is it encrypted already?"
            )
    entries: dict[str, Entry] = {}
    for path, target in listing.links.items():
        kept = "/".join(part for part in target.split("/") if part not in ("", "."))
        if target.startswith("/") or not _is_utf8(target) or not link_stays_inside(path, kept):
            raise UsageError(
                f"link leaves the folder: {source / path} -> {target}",
                hint="make it relative, with '..' at its front only",
            )
        entries[path] = LinkEntry(kept)
    holding = {
        above for path in (*listing.files, *listing.links, *listing.folders) for above in _parents(path)
    }
    entries.update((path, FolderEntry()) for path in listing.folders if path not in holding)
    return entries


def _parents(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def open_index(source: Path, key: WrapKey, *, folder: str | None, version: str | None = None) -> FolderIndex:
    """Open the index of a protected folder on disk; `folder` None takes the path that it carries itself."""
    return _open_index(source, key, folder, version)[0]


def _open_index(
    source: Path, key: WrapKey, folder: str | None, version: str | None
) -> tuple[FolderIndex, str]:
    name = source / INDEX_NAME
    if not os.path.exists(name):
        raise FormatError(f"{source} is not a protected folder: it has no {INDEX_NAME}")
    expected = index_path(folder) if folder is not None else None
    with FileRange.open(name) as store:
        reader = ProtectedReader.open(store, key, path=expected, version=version, name=str(name))
        own, slash, last = reader.path.rpartition("/")
        if not own or not slash or last != INDEX_NAME:
            raise IntegrityError(f"{name} is not a folder index: it carries the path {reader.path!r}")
        return FolderIndex.read(reader, str(name)), own


def check_listing(source: Path, index: FolderIndex) -> None:
    """Compare what the host has with the index.

    Raises `IntegrityError` naming the first missing or extra path.
    """
    listing = list_folder(source)
    expected = {path for path, entry in index.entries.items() if isinstance(entry, FileEntry)} | {INDEX_NAME}
    found = {*listing.files, *listing.links}
    folders = {above for path in expected for above in _parents(path)}
    if missing := sorted(expected - found):
        raise IntegrityError(f"{source} lacks a file of its index: {missing[0]}")
    if extra := sorted((found - expected) | (set(listing.folders) - folders)):
        raise IntegrityError(f"{source} has something its index does not name: {extra[0]}")


def decrypt_folder(
    source: Path,
    destination: Path,
    key: WrapKey,
    *,
    folder: str | None = None,
    version: str | None = None,
    force: bool = False,
    progress: Progress = no_progress,
) -> FolderIndex:
    """Decrypt a protected folder to the new folder `destination` (files 0600, folders 0700).

    Returns its index. Every file must have the version and size of the index and carry its path; nothing
    may be missing or extra. `folder`, unless None, is the embedded path expected, `version` the index's
    version id. The destination appears only when all is verified. Raises `FormatError`, `IntegrityError`,
    `StorageError`.
    """
    index, own = _open_index(source, key, folder, version)
    check_listing(source, index)
    with AtomicFolder(destination, mode=_PLAINTEXT_FOLDER_MODE, force=force) as output:
        for path, entry in index.entries.items():
            above = path if isinstance(entry, FolderEntry) else path.rpartition("/")[0]
            parent = output.make_folders(above, _PLAINTEXT_FOLDER_MODE)
            if isinstance(entry, LinkEntry):
                with storage_errors("write", destination / path):
                    os.symlink(entry.target, parent / path.rpartition("/")[2])
            elif isinstance(entry, FileEntry):
                _decrypt_member(source / path, key, f"{own}/{path}", entry, (parent, path), progress)
        output.commit()
    return index


def _decrypt_member(
    source: Path, key: WrapKey, path: str, entry: FileEntry, target: tuple[Path, str], progress: Progress
) -> None:
    with FileRange.open(source) as store:
        # (1) version, (2) tag, (3) path; (4) the size, which the version implies unless the index lies.
        reader = ProtectedReader.open(store, key, path=path, version=entry.version, name=str(source))
        if reader.size != entry.size:
            raise IntegrityError(f"{source} has another size: expected {entry.size}, got {reader.size}")
        with _new_file(*target, PLAINTEXT_MODE) as plain:
            decrypt_range(reader, plain, progress=progress)
            plain.fsync()
