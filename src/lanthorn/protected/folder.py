"""The index of a protected folder: names, sizes and version ids of all it holds, authenticated.

One index lies at the folder's top, itself a protected file. Its plaintext is canonical JSON; the folder's
version id is the index's. Modes, times and owners are not kept. Not here: walking a disk (`folder_io`).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final

from lanthorn.errors import FormatError
from lanthorn.keys import WrapKey
from lanthorn.protected._crypto import Random
from lanthorn.protected._layout import MAX_FILE_SIZE
from lanthorn.protected._range import FileRange, RangeReader
from lanthorn.protected.reader import ProtectedReader
from lanthorn.protected.writer import encrypt_stream

INDEX_NAME: Final = ".lanthorn-index"
INDEX_VERSION: Final = 1
MAX_INDEX_SIZE: Final = 256 << 20
MAX_ENTRIES: Final = 1_000_000
MAX_DEPTH: Final = 128
"""Folders inside one another."""

MAX_ENTRY_PATH: Final = 4096
"""Bytes of an entry's path or a link's target, as PATH_MAX; the embedded path's own limit is lower."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A protected file: plaintext size and version id."""

    size: int
    version: str


@dataclass(frozen=True, slots=True)
class LinkEntry:
    """A symbolic link that is relative and stays inside the folder."""

    target: str


@dataclass(frozen=True, slots=True)
class FolderEntry:
    """An empty folder; others follow from the paths of what they hold."""


Entry = FileEntry | LinkEntry | FolderEntry


def index_path(folder: str) -> str:
    """Return the path that the index of `folder` (an embedded path) carries inside."""
    return f"{folder}/{INDEX_NAME}"


def link_stays_inside(path: str, target: str) -> bool:
    """Return whether a link at `path` to `target` cannot leave the folder, whatever other links there are.

    That holds for `..` at the front only, no more than the link is deep: names after it walk down, and
    links among them obey the same rule. `a/../..` could leave it through a link `a`.
    """
    parts = target.split("/")
    ups = next((i for i, part in enumerate(parts) if part != ".."), len(parts))
    return ups <= path.count("/") and all(part not in ("", ".", "..") for part in parts[ups:])


@dataclass(frozen=True, slots=True)
class FolderIndex:
    """What a protected folder holds, by path, in the order of the paths' UTF-8 bytes."""

    entries: Mapping[str, Entry]
    version: str

    @classmethod
    def build(
        cls,
        entries: Mapping[str, Entry],
        store: FileRange,
        key: WrapKey,
        *,
        folder: str,
        random: Random = os.urandom,
    ) -> FolderIndex:
        """Encrypt an index of `entries` into the empty `store`.

        Raises `FormatError` for entries no reader takes.
        """
        plain = encode_index(entries)
        version = encrypt_stream(BytesIO(plain), store, key, index_path(folder), random=random)
        return cls(decode_index(plain, index_path(folder)), version)

    @classmethod
    def load(
        cls, source: RangeReader, key: WrapKey, *, folder: str, version: str | None, name: str | None = None
    ) -> FolderIndex:
        """Read and check an index of the embedded path `folder` and, unless None, of the version id given.

        Raises `FormatError`, `IntegrityError` or `StorageError`, as `ProtectedReader.open` does.
        """
        reader = ProtectedReader.open(source, key, path=index_path(folder), version=version, name=name)
        return cls.read(reader, name or reader.path)

    @classmethod
    def read(cls, reader: ProtectedReader, name: str) -> FolderIndex:
        """Read the index that `reader` has open; its embedded path is the caller's business."""
        if reader.size > MAX_INDEX_SIZE:
            raise FormatError(
                f"{name} is over a limit: expected at most {MAX_INDEX_SIZE} bytes, got {reader.size}"
            )
        return cls(decode_index(reader.read(reader.size, 0), name), reader.version)


def encode_index(entries: Mapping[str, Entry]) -> bytes:
    """Return the canonical JSON of an index. Raises `FormatError`."""
    from lanthorn.canonical import canonical_json

    for path in entries:
        if not _is_inside(path):
            raise FormatError(f"not a path inside a folder: {path!r}")
    listed = [_entry_json(path, entries[path]) for path in sorted(entries, key=str.encode)]
    return canonical_json({"version": INDEX_VERSION, "entries": listed})


def _entry_json(path: str, entry: Entry) -> dict[str, Any]:
    match entry:
        case FileEntry(size, version):
            return {"path": path, "size": size, "version": version}
        case LinkEntry(target):
            return {"path": path, "link": target}
        case FolderEntry():
            return {"path": path, "folder": True}


def decode_index(data: bytes, name: str) -> Mapping[str, Entry]:
    """Parse an index strictly: known fields, right types, sorted unique paths, none below a file or link."""
    try:
        document = json.loads(data, object_pairs_hook=_unique_object)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{name} is not a folder index: not JSON") from error
    if not isinstance(document, dict) or set(document) != {"version", "entries"}:
        raise FormatError(f"{name} is not a folder index: expected version and entries alone")
    if type(document["version"]) is not int or document["version"] != INDEX_VERSION:
        raise FormatError(f"{name} has an unknown index version: expected {INDEX_VERSION}")
    listed = document["entries"]
    if not isinstance(listed, list) or len(listed) > MAX_ENTRIES:
        raise FormatError(f"{name} is not a folder index: expected at most {MAX_ENTRIES} entries")
    pairs = [_parse_entry(item, name) for item in listed]
    _check_order([path for path, _ in pairs], name)
    entries = dict(pairs)
    _check_parents(entries, name)
    return MappingProxyType(entries)


def _unique_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate field")
    return found


def _parse_entry(item: object, name: str) -> tuple[str, Entry]:
    if not isinstance(item, dict) or not isinstance(item.get("path"), str):
        raise FormatError(f"{name} has an entry without a path")
    path: str = item["path"]
    if not _is_inside(path):
        raise FormatError(f"{name} has an entry with a bad path: {path!r}")
    match item:
        case {"size": int(size), "version": str(version)} if len(item) == 3 and _is_file(size, version):
            return path, FileEntry(size, version)
        case {"link": str(target)} if len(item) == 2 and _is_link(path, target):
            return path, LinkEntry(target)
        case {"folder": True} if len(item) == 2:
            return path, FolderEntry()
    raise FormatError(f"{name} has a malformed entry: {path!r}")


def _is_file(size: int, version: str) -> bool:
    known = type(size) is int and 0 <= size <= MAX_FILE_SIZE
    return known and re.fullmatch(r"[0-9a-f]{64}", version) is not None


def _is_link(path: str, target: str) -> bool:
    return _is_text(target) and link_stays_inside(path, target)


def _is_inside(path: str) -> bool:
    parts = path.split("/")
    return (
        _is_text(path)
        and len(parts) <= MAX_DEPTH
        and all(part not in ("", ".", "..", INDEX_NAME) for part in parts)
    )


def _is_text(value: str) -> bool:
    try:
        return "\0" not in value and 0 < len(value.encode()) <= MAX_ENTRY_PATH
    except UnicodeEncodeError:
        return False


def _check_order(paths: list[str], name: str) -> None:
    encoded = [path.encode() for path in paths]
    for before, after in pairwise(encoded):
        if before >= after:
            raise FormatError(f"{name} has entries out of order: {after.decode()!r}")


def _check_parents(entries: Mapping[str, Entry], name: str) -> None:
    for path in entries:
        above = path
        while "/" in above:
            above = above.rpartition("/")[0]
            if above in entries:
                raise FormatError(f"{name} has an entry below something else: {path!r}")
