"""Where a program may write: the output files its lock names, and anything below its output folders.

Every output starts absent. A folder is staged beside its destination and put in place, with its index, when the run
ends; a file is put in place when it is closed.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from lanthorn.job.lock import LockedPath
from lanthorn.keys import WrapKey
from lanthorn.protected import INDEX_NAME, FileEntry, FileRange, FolderEntry, FolderIndex
from lanthorn.protected.atomic_folder import AtomicFolder
from lanthorn.protected.folder import Entry
from lanthorn.targets.native.outputs import OutputFile

# Names of refused writes kept for the summary; the first few tell an owner what to add to lanthorn.toml.
_REMEMBERED_REFUSALS = 20


class OutputFolder:
    """A protected folder being written."""

    def __init__(self, host: Path, path: str, key: WrapKey) -> None:
        self.path = path
        self.key = key
        self._folder = AtomicFolder(host, force=True)

    @property
    def staging(self) -> Path:
        return self._folder.temporary

    def publish(self, members: Iterable[OutputFile], folders: Iterable[str]) -> str:
        """Write the index, make all durable, swap the folder in. Return the index's version id."""
        start = len(self.path) + 1
        entries: dict[str, Entry] = {path: FolderEntry() for path in folders}
        entries |= {file.path[start:]: FileEntry(file.size, file.version or "") for file in members}
        # An index names its empty folders; on the host there are none.
        for path in sorted(entries, reverse=True):
            if isinstance(entries[path], FolderEntry):
                os.rmdir(self.staging / path)
        with FileRange.create(self.staging / INDEX_NAME, 0o644) as store:
            index = FolderIndex.build(entries, store, self.key, folder=self.path)
            store.fsync()
        self._folder.commit()
        return index.version

    def discard(self) -> None:
        self._folder.abandon()


class OutputSpace:
    """The places for outputs, by the program's absolute path. Not safe for threads: its tree has the lock."""

    def __init__(self, job: Path, may_publish: Callable[[], bool]) -> None:
        self.refused: dict[str, None] = {}
        self._job = job
        self._may_publish = may_publish
        self._slots: dict[str, tuple[LockedPath, WrapKey]] = {}
        self._folders: dict[str, OutputFolder] = {}

    def reserve(self, entry: LockedPath, key: WrapKey) -> str:
        """Let the program write at `entry`; return its absolute path."""
        path = f"{self._job}/{entry.path}"
        self._slots[path] = (entry, key)
        return path

    def refusal(self, path: str) -> OSError:
        """Remember a write outside the job's outputs, and return the error for it.

        Python's attempts to keep bytecode are no loss and not remembered.
        """
        if len(self.refused) < _REMEMBERED_REFUSALS and "__pycache__" not in path:
            self.refused[path] = None
        return OSError(errno.EROFS, path)

    def new_file(self, path: str) -> OutputFile:
        """Return an output for `path`, not yet begun. Raises `OSError` EROFS where none may be."""
        slot = self._slots.get(path)
        if slot is not None:
            entry, key = slot
            if entry.kind != "file":
                raise OSError(errno.EISDIR, path)
            return OutputFile(self._job / entry.path, entry.path, key, self._may_publish)
        folder, inner = self._inside(path)
        return OutputFile(folder.staging / inner, f"{folder.path}/{inner}", folder.key, self._may_publish)

    def make_folder(self, path: str) -> None:
        slot = self._slots.get(path)
        if slot is not None and slot[0].kind == "folder":
            entry, key = slot
            self._folders[path] = OutputFolder(self._job / entry.path, entry.path, key)
        else:
            folder, inner = self._inside(path)
            os.mkdir(folder.staging / inner, 0o755)

    def remove_folder(self, path: str) -> None:
        if path in self._folders:
            self._folders.pop(path).discard()
        else:
            folder, inner = self._inside(path)
            os.rmdir(folder.staging / inner)

    def rename(self, output: OutputFile, new: str) -> None:
        """Rename a file to another place for outputs under the same key."""
        target = self.new_file(new)
        if target.key != output.key:
            raise OSError(errno.EXDEV, new)
        output.rename(target.host, target.path)

    def _inside(self, path: str) -> tuple[OutputFolder, str]:
        for top, folder in self._folders.items():
            if path.startswith(top + "/"):
                return folder, path[len(top) + 1 :]
        raise self.refusal(path)

    def publish(
        self, files: Iterable[OutputFile], empty_folders: Iterable[str]
    ) -> dict[str, dict[str, object]]:
        """Put every output in place; return version id and size by path."""
        published: dict[str, dict[str, object]] = {}
        outputs = []
        for output in files:
            output.commit()
            # A process that was killed while it wrote the first version leaves nothing.
            if output.version is not None:
                published[output.path] = {"version": output.version, "size": output.size}
                outputs.append(output)
            output.release()
        empty = list(empty_folders)
        for top, folder in self._folders.items():
            members = [output for output in outputs if output.path.startswith(folder.path + "/")]
            inner = [path[len(top) + 1 :] for path in empty if path.startswith(top + "/")]
            published[folder.path] = {"version": folder.publish(members, inner)}
        return published

    def discard(self, files: Mapping[str, object]) -> None:
        """Drop everything that is not yet in place."""
        for output in files.values():
            if isinstance(output, OutputFile):
                output.discard()
        for folder in self._folders.values():
            folder.discard()
