"""Embedded paths: which name a protected file carries inside.

The path is part of the format: a reader that knows where the file should lie compares it. We embed the path
relative to the job's folder, as Gramine does for a relative `uri`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from lanthorn.errors import UsageError
from lanthorn.protected._layout import MAX_PATH

JOB_FILE: Final = "lanthorn.toml"


def check_embedded_path(path: str) -> str:
    """Return `path` if a protected file can carry it: normalised, not empty, at most 771 bytes of UTF-8.

    Raises `UsageError`.
    """
    try:
        length = len(path.encode())
    except UnicodeEncodeError as error:
        raise UsageError(f"not UTF-8: {os.fsencode(path)!r}", hint="rename it") from error
    if length > MAX_PATH:
        raise UsageError(f"embedded path is too long: expected at most {MAX_PATH} bytes, got {length}")
    normal = "/" + os.path.normpath(path).lstrip("/") if path.startswith("/") else os.path.normpath(path)
    if not path or "\0" in path or path != normal or path in (".", "..", "/"):
        raise UsageError(f"not a normalised path: {path!r}", hint="no empty parts, no '.', no trailing '/'")
    return path


def embedded_path(destination: Path) -> str:
    """Return the path that a file or folder at `destination` carries inside by default.

    Relative to the nearest folder above it that holds lanthorn.toml; without one, to its own parent.
    """
    named = os.path.abspath(destination)
    absolute = Path(os.path.realpath(os.path.dirname(named)), os.path.basename(named))
    for folder in absolute.parents:
        if os.path.isfile(folder / JOB_FILE):
            return check_embedded_path(absolute.relative_to(folder).as_posix())
    return check_embedded_path(absolute.name)
