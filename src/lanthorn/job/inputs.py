"""The version ids of a job's protected inputs, read without any key."""

from __future__ import annotations

import os
from pathlib import Path

from lanthorn.errors import ManifestError
from lanthorn.job.lock import LockedPath
from lanthorn.job.manifest import ProtectedPath
from lanthorn.job.paths import INDEX_NAME
from lanthorn.storage import storage_errors

NODE_SIZE = 4096
MAGIC = b"GRAFS_PF"


def lock_entry(folder: Path, entry: ProtectedPath) -> LockedPath:
    """Pin one protected path of the job in `folder`.

    Raises `ManifestError` when an input that is not floating is missing, or is not encrypted.
    """
    kind = entry.kind or ("folder" if os.path.isdir(folder / entry.path) else "file")
    pinned = entry.access == "read" and not entry.floating
    version = _version(folder, entry.path, kind) if pinned else None
    return LockedPath(entry.path, entry.key, entry.access, kind, version, entry.floating)


def _version(folder: Path, path: str, kind: str) -> str:
    from lanthorn.protected import version_id

    file = folder / path
    if not os.path.lexists(file):
        hint = "encrypt it first, or set floating = true if it will be there only later"
        raise ManifestError(f"protected input is missing: {path}", hint=hint)
    if kind == "folder":
        file = file / INDEX_NAME
    hint = f"encrypt it: lanthorn encrypt --key … {path} {path}"
    if not file.is_file():
        raise ManifestError(f"protected {kind} {path} is not an encrypted {kind}", hint=hint)
    with storage_errors("read", file), open(file, "rb") as opened:
        node = opened.read(NODE_SIZE)
    if len(node) != NODE_SIZE or not node.startswith(MAGIC):
        raise ManifestError(f"protected {kind} {path} is not encrypted", hint=hint)
    return version_id(node)
