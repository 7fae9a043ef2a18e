"""The list of a root's trusted files: what is pinned of each, grouped by the distribution it came with.

A list is canonical JSON (RFC 8785), so its SHA-256 is the root's digest in the lock:

    {"groups": [{"files": [[path, size, executable, sha256, tree], …],
                 "links": [[path, target] or [path, root, target], …],
                 "name": "torch", "version": "2.13.0"}, …],
     "root": "environment", "version": 1}

Groups are sorted by name and version, files and links by path (UTF-8 bytes). Beside it lie the leaves of
every file's hash tree, concatenated in the list's order. Nothing here says where on a machine the root is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from lanthorn.errors import ManifestError
from lanthorn.job.paths import RootPath

LIST_VERSION = 1


@dataclass(frozen=True, slots=True)
class TrustedFile:
    """A pinned file: `sha256` and `tree` in hex; the leaves are stored beside the list, not in it."""

    path: str
    size: int
    executable: bool
    sha256: str
    tree: str
    leaves: bytes = field(default=b"", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class TrustedLink:
    """A pinned symbolic link: relative text that stays in its root, or a path in a named root."""

    path: str
    target: str | RootPath


@dataclass(frozen=True)
class Group:
    """The files of one distribution, system package, "python", "job", or "unowned"."""

    name: str
    version: str
    files: tuple[TrustedFile, ...]
    links: tuple[TrustedLink, ...]

    @property
    def title(self) -> str:
        return f"{self.name} {self.version}".strip()


@dataclass(frozen=True)
class RootList:
    """Every trusted file of one root."""

    root: str
    groups: tuple[Group, ...]

    @classmethod
    def build(cls, root: str, groups: Iterable[Group]) -> RootList:
        """Sort into the one canonical order. Raises `ManifestError` for a name with a line break."""
        groups = list(groups)
        paths = [file.path for group in groups for file in group.files]
        paths += [link.path for group in groups for link in group.links]
        if unclean := [path for path in paths if "\n" in path]:
            raise ManifestError(f"a file name holds a line break: {unclean[0]!a}")
        ordered = sorted(groups, key=lambda group: (group.name, group.version))
        return cls(root, tuple(_sorted_group(group) for group in ordered if group.files or group.links))

    def files(self) -> Iterator[TrustedFile]:
        for group in self.groups:
            yield from group.files

    @property
    def count(self) -> int:
        return sum(len(group.files) for group in self.groups)

    @property
    def total_bytes(self) -> int:
        return sum(file.size for file in self.files())

    def encode(self) -> bytes:
        """Return the canonical bytes. Raises `ManifestError` for a name that is not UTF-8."""
        groups = [
            {
                "files": [[f.path, f.size, f.executable, f.sha256, f.tree] for f in group.files],
                "links": [_link_row(link) for link in group.links],
                "name": group.name,
                "version": group.version,
            }
            for group in self.groups
        ]
        return encode_list({"groups": groups, "root": self.root, "version": LIST_VERSION})

    def leaves(self) -> bytes:
        return b"".join(file.leaves for file in self.files())


def encode_list(value: dict[str, Any]) -> bytes:
    """Return the RFC 8785 encoding of lists, which hold only ASCII keys, strings, truth values and integers.

    For those the standard library's encoder writes the same bytes, 20 times faster than a general one.
    Raises `ManifestError` for a string that UTF-8 cannot hold.
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        name = error.object[max(0, error.start - 40) : error.start + 10]
        raise ManifestError(f"a file name is not UTF-8: {name!a}") from error


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def decode_root(root: str, data: bytes) -> RootList:
    """Return the typed form of a list whose digest was checked. Raises `ManifestError` on another shape."""
    try:
        value = json.loads(data)
        if value["root"] != root or value["version"] != LIST_VERSION:
            raise ValueError("another root or version")
        return RootList(root, tuple(_group(group) for group in value["groups"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ManifestError(f"the list of trusted files of {root!r} is malformed") from error


def _group(value: dict[str, Any]) -> Group:
    files = tuple(TrustedFile(*row) for row in value["files"])
    links = tuple(
        TrustedLink(row[0], row[1] if len(row) == 2 else RootPath(row[1], row[2])) for row in value["links"]
    )
    return Group(value["name"], value["version"], files, links)


def _sorted_group(group: Group) -> Group:
    files = sorted(group.files, key=lambda file: _path_key(file.path))
    links = sorted(group.links, key=lambda link: _path_key(link.path))
    return Group(group.name, group.version, tuple(files), tuple(links))


def _path_key(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _link_row(link: TrustedLink) -> list[str]:
    if isinstance(link.target, RootPath):
        return [link.path, *link.target]
    return [link.path, link.target]
