"""Gather the paths of trusted files: which root each belongs to, and every symbolic link on the way to it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping

from lanthorn.errors import ManifestError
from lanthorn.job.paths import RootPath, contains
from lanthorn.storage import storage_errors

MAX_HOPS = 40
"""As many symbolic links as Linux follows in one path."""


class Collector:
    """Files and links by root, each relative to its root's location (a real path).

    `claims` are folders or files and the root that owns what lies in them; the innermost claim decides, and
    what nobody claims is the system's.
    """

    def __init__(self, locations: Mapping[str, str], claims: Mapping[str, str]) -> None:
        self._locations = dict(locations)
        self._claims = sorted(claims.items(), key=lambda item: -len(item[0]))
        self.files: dict[str, set[str]] = {root: set() for root in locations}
        self.links: dict[str, dict[str, str | RootPath]] = {root: {} for root in locations}
        self._visited: set[str] = set()

    def owner(self, path: str) -> RootPath:
        """Return the root and relative path of an absolute path."""
        root = next((root for claim, root in self._claims if contains(claim, path)), "system")
        return RootPath(root, path[len(self._locations[root].rstrip("/")) + 1 :])

    def host(self, root: str, path: str) -> str:
        """Return the absolute path of a file of a root."""
        return f"{self._locations[root].rstrip('/')}/{path}"

    def add(self, path: str) -> str:
        """Add a file, and the links by which `path` leads to it; return its real path.

        Raises `ManifestError` for a link that leads nowhere or anything that is not a file.
        """
        real = self.resolve(path)
        with storage_errors("read", real):
            mode = os.lstat(real).st_mode
        if not stat.S_ISREG(mode):
            raise ManifestError(f"{path} is not a regular file")
        root, inside = self.owner(real)
        self.files[root].add(inside)
        return real

    def resolve(self, path: str) -> str:
        """Return where an absolute path really leads, recording each symbolic link met."""
        pending = [part for part in reversed(path.split("/")) if part]
        done = ""
        hops = 0
        while pending:
            part = pending.pop()
            if part in (".", ".."):
                done = done if part == "." else done.rpartition("/")[0]
                continue
            here = f"{done}/{part}"
            target = _readlink(here)
            if target is None:
                done = here
                continue
            hops += 1
            if hops > MAX_HOPS:
                raise ManifestError(f"too many symbolic links: {path}")
            self._record(here, target)
            done = "" if target.startswith("/") else done
            pending.extend(piece for piece in reversed(target.split("/")) if piece)
        return done or "/"

    def walk(self, folder: str, excluded: Callable[[str, bool], bool]) -> list[str]:
        """Add all files below `folder` but what `excluded(path, is_folder)` names; return dangling links."""
        dangling: list[str] = []
        pending = [folder]
        while pending:
            here = pending.pop()
            if here in self._visited:
                continue
            self._visited.add(here)
            with storage_errors("read", here), os.scandir(here) as entries:
                for entry in entries:
                    self._visit(entry, excluded, pending, dangling)
        return dangling

    def _visit(
        self,
        entry: os.DirEntry[str],
        excluded: Callable[[str, bool], bool],
        pending: list[str],
        dangling: list[str],
    ) -> None:
        if entry.is_symlink() and not os.path.exists(entry.path):
            dangling.append(entry.path)
        elif excluded(entry.path, entry.is_dir()):
            return
        elif entry.is_dir():
            pending.append(self.resolve(entry.path) if entry.is_symlink() else entry.path)
        elif entry.is_symlink():
            self.add(entry.path)
        elif entry.is_file():
            root, inside = self.owner(entry.path)
            self.files[root].add(inside)

    def _record(self, path: str, target: str) -> None:
        root, inside = self.owner(path)
        joined = os.path.normpath(os.path.join(os.path.dirname(path), target))
        aimed = self.owner(joined)
        # Text that stays in its root means the same wherever the root lies; anything else is said by root.
        stays = aimed.root == root and not target.startswith("/")
        if inside:
            self.links[root][inside] = target if stays else aimed


def _readlink(path: str) -> str | None:
    try:
        return os.readlink(path)
    except FileNotFoundError as error:
        raise ManifestError(f"missing: {path}") from error
    except OSError:
        return None
