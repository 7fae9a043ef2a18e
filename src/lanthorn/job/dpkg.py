"""Which Debian package a system file belongs to, from dpkg's own database."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from lanthorn.storage import storage_errors

DATABASE = Path("/var/lib/dpkg")


class Package(NamedTuple):
    name: str
    version: str


def packages_of(paths: Iterable[str], database: Path = DATABASE) -> dict[str, Package]:
    """Return the package of each absolute path that dpkg knows; empty where there is no dpkg.

    A system with merged /usr lists a file under either of its two names, so both are asked for.
    """
    wanted: dict[bytes, str] = {}
    for path in paths:
        wanted[os.fsencode(path)] = path
        if path.startswith("/usr/"):
            wanted.setdefault(os.fsencode(path.removeprefix("/usr")), path)
    folder = database / "info"
    if not wanted or not folder.is_dir():
        return {}
    found: dict[str, Package] = {}
    with storage_errors("read", database):
        versions = _versions(database / "status")
        for listing in sorted(folder.glob("*.list")):
            hits = wanted.keys() & set(listing.read_bytes().split(b"\n"))
            name = listing.stem.partition(":")[0]
            for hit in hits:
                found.setdefault(wanted[hit], Package(name, versions.get(name, "")))
    return found


def _versions(status: Path) -> dict[str, str]:
    versions: dict[str, str] = {}
    name = ""
    if status.is_file():
        for line in status.read_text("utf-8", "replace").splitlines():
            if line.startswith("Package: "):
                name = line[9:].strip()
            elif line.startswith("Version: "):
                versions[name] = line[9:].strip()
    return versions
