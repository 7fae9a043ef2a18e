"""Paths inside a job or a root: relative, normalised, never leading out."""

from __future__ import annotations

from typing import NamedTuple

MAX_PATH_BYTES = 771
"""The longest path that a protected file can embed (file_path of its metadata node)."""

INDEX_NAME = ".lanthorn-index"
ROOTS = ("job", "environment", "interpreter", "system")
"""The named roots of trusted files, in the order in which they are shown."""

_UNCLEAN = (
    "\0",
    "//",
    "/\n",
    "\n/",
    "\n\n",
    "/./",
    "/../",
    "\n./",
    "\n../",
    "/.\n",
    "/..\n",
    "\n.\n",
    "\n..\n",
)


class RootPath(NamedTuple):
    """A path said without saying where on a machine: a named root, and the path inside it."""

    root: str
    path: str


def normalise(path: str) -> str:
    """Return a relative path without `.`, doubled or trailing slashes.

    Raises `ValueError` with the reason for an absolute path, one that climbs, an empty one or one over the
    limit.
    """
    if path.startswith("/"):
        raise ValueError("absolute paths are not supported: give a path relative to the job's folder")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ValueError("'..' is not allowed")
    if not parts:
        raise ValueError("names the job's folder itself")
    if any("\n" in part or "\0" in part for part in parts):
        raise ValueError("holds a line break or NUL")
    if any(part.startswith(".lanthorn-") for part in parts):
        raise ValueError("names that start with .lanthorn- are reserved")
    joined = "/".join(parts)
    if len(joined.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES:
        raise ValueError(f"longer than {MAX_PATH_BYTES} bytes")
    return joined


def all_clean(paths: list[str]) -> bool:
    """Whether every path is relative and normalised.

    Searches all of them at once for the few pieces that only an unclean path has: 20,000 paths take 3 ms.
    """
    joined = "\n".join(paths)
    if joined.count("\n") != max(len(paths) - 1, 0):
        return False
    framed = f"\n{joined}\n"
    return not paths or not any(piece in framed for piece in _UNCLEAN)


def contains(folder: str, path: str) -> bool:
    """Whether `path` is `folder` or lies below it."""
    return path == folder or path.startswith(folder + "/")
