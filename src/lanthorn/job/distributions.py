"""Which installed distribution a file came with, and what installing it generates rather than ships."""

from __future__ import annotations

import base64
import binascii
import csv
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lanthorn.errors import ManifestError
from lanthorn.storage import read_limited, storage_errors

MAX_METADATA_BYTES = 16 << 20
MAX_RECORD_BYTES = 64 << 20
GENERATED_NAMES = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"})
"""Written by pip, uv and others into .dist-info: they tell how, when and from where it was installed."""


@dataclass(frozen=True)
class Distribution:
    """A name, a version, and the SHA-256 (hex) that RECORD gives for its files, by absolute path."""

    name: str
    version: str
    recorded: dict[str, str | None] = field(repr=False)


def is_generated(path: str, is_folder: bool) -> bool:
    """Whether installation, not the distribution, made this path below site-packages."""
    folder, name = os.path.split(path)
    if is_folder:
        return name == "__pycache__"
    return name in GENERATED_NAMES and folder.endswith(".dist-info")


def installed(site: str) -> list[Distribution]:
    """Return the distributions of a site-packages folder. Raises `ManifestError` for bad metadata."""
    found = []
    with storage_errors("read", site):
        for name in sorted(os.listdir(site)):
            folder = Path(site, name)
            if name.endswith(".dist-info") and (folder / "METADATA").is_file():
                found.append(_distribution(folder, "METADATA", _recorded(folder)))
            elif name.endswith(".egg-info") and (folder / "PKG-INFO").is_file():
                found.append(_distribution(folder, "PKG-INFO", _listed(folder)))
    return found


def _distribution(folder: Path, metadata: str, recorded: dict[str, str | None]) -> Distribution:
    headers = _headers(read_limited(folder / metadata, MAX_METADATA_BYTES))
    name, version = headers.get("name", ""), headers.get("version", "")
    if not name or not version:
        raise ManifestError(f"{folder / metadata} names no distribution and version")
    own = {entry.path: None for entry in os.scandir(folder) if entry.is_file()}
    return Distribution(name, version, {**own, **recorded})


def _headers(data: bytes) -> dict[str, str]:
    """Return Name and Version of core metadata (PEP 566): headers that end at the first empty line."""
    headers: dict[str, str] = {}
    for line in data.partition(b"\n\n")[0].decode("utf-8", "replace").splitlines():
        key, _, value = line.partition(":")
        if key.lower() in ("name", "version"):
            headers.setdefault(key.lower(), value.strip())
    return headers


def _recorded(folder: Path) -> dict[str, str | None]:
    """Read RECORD (PEP 376, PEP 427): path, "sha256=<urlsafe base64>", size."""
    path = folder / "RECORD"
    if not path.is_file():
        return {}
    text = read_limited(path, MAX_RECORD_BYTES).decode("utf-8", "surrogateescape")
    try:
        rows = list(csv.reader(text.splitlines()))
        return {_absolute(folder.parent, row[0]): _hex_digest(row[1]) for row in rows if len(row) >= 2}
    except (csv.Error, binascii.Error, ValueError) as error:
        raise ManifestError(f"{path} is not a RECORD: {error}") from error


def _absolute(site: Path, path: str) -> str:
    return os.path.normpath(os.path.join(site, path))


def _hex_digest(text: str) -> str | None:
    algorithm, _, value = text.partition("=")
    if algorithm != "sha256":
        return None
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex()


def _listed(folder: Path) -> dict[str, str | None]:
    """Read installed-files.txt, which old installers left: paths relative to the .egg-info folder."""
    path = folder / "installed-files.txt"
    if not path.is_file():
        return {}
    lines = read_limited(path, MAX_RECORD_BYTES).decode("utf-8", "surrogateescape").splitlines()
    return {_absolute(folder, line): None for line in lines if line}


def owners(distributions: Iterable[Distribution]) -> dict[str, Distribution]:
    """Return the distribution of each path; of two that claim one path, the first by name."""
    owner: dict[str, Distribution] = {}
    for distribution in distributions:
        for path in distribution.recorded:
            owner.setdefault(path, distribution)
    return owner
