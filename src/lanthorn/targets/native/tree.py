"""The program's name space: trusted files, protected inputs and protected outputs, and nothing else.

What stands in no lock does not exist (ENOENT). What the host withholds or changes ends the run: the first failed
check is reported once, and from then on nothing is served and nothing published.
"""

from __future__ import annotations

import errno
import os
import posixpath
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from lanthorn.errors import Error, UsageError
from lanthorn.job.lock import LockedPath
from lanthorn.job.view import FileNode, FolderNode, LinkNode, LiteralNode, SliceNode, View
from lanthorn.keys import WrapKey
from lanthorn.targets.native.inputs import ProtectedInput, open_inputs
from lanthorn.targets.native.nodes import Attributes, Folder, Handle, Link, Literal, Node, is_write
from lanthorn.targets.native.outputs import OutputFile, OutputFolder
from lanthorn.targets.native.trusted import TrustedFile, TrustedSlice, VerifiedFile

_BLOCK = 4096
# Names of refused writes kept for the summary; a program that tries thousands needs to read only the first few.
_REMEMBERED_REFUSALS = 20


class Tree:
    """Every path the program can name. Paths are absolute, normalised, as the program sees them."""

    def __init__(self, view: View, job: Path, *, on_failure: Callable[[Error], None]) -> None:
        self.failure: Error | None = None
        self.refused: dict[str, None] = {}
        self._view = view
        self._job = job
        self._on_failure = on_failure
        self._nodes: dict[str, Node] = {}
        self._added: dict[str, dict[str, None]] = {}
        self._file_slots: dict[str, tuple[LockedPath, WrapKey]] = {}
        self._folder_slots: dict[str, tuple[LockedPath, WrapKey]] = {}
        self._folders: dict[str, OutputFolder] = {}
        self._packs: dict[str, VerifiedFile] = {}
        self._lock = threading.RLock()
        self._add(str(job), Folder(writable=True))

    # -- filling ------------------------------------------------------------------------------------------------

    def add_input(self, entry: LockedPath, key: WrapKey) -> None:
        """Open a protected input and give it its names. Raises what `open_inputs` raises."""
        for path, node in open_inputs(self._job, entry, key):
            self._add(f"{self._job}/{path}", node)

    def add_output(self, entry: LockedPath, key: WrapKey) -> None:
        """Reserve a path for writing. It starts absent."""
        path = f"{self._job}/{entry.path}"
        slots = self._file_slots if entry.kind == "file" else self._folder_slots
        slots[path] = (entry, key)
        parent = posixpath.dirname(path)
        if parent != str(self._job):
            self._add(parent, Folder(writable=True))

    def add_literal(self, path: str, data: bytes) -> None:
        self._add(path, Literal(data))

    def _add(self, path: str, node: Node) -> None:
        self._nodes[path] = node
        while path != "/":
            parent, name = posixpath.split(path)
            names = self._added.setdefault(parent, {})
            if name in names:
                return
            names[name] = None
            path = parent

    # -- looking ------------------------------------------------------------------------------------------------

    def node(self, path: str) -> Node:
        """Return the node at `path`. Raises `OSError` ENOENT for what no lock names."""
        self.refuse_after_failure()
        node = self._nodes.get(path)
        if node is not None:
            return node
        trusted = self._view.nodes.get(path)
        if trusted is not None:
            node = self._serve(trusted)
        elif path in self._added:
            node = Folder()
        else:
            raise OSError(errno.ENOENT, path)
        self._nodes[path] = node
        return node

    def _serve(self, node: object) -> Node:
        match node:
            case FileNode():
                return TrustedFile(node.host, node.size, node.mode, node.verified_leaves, node.name)
            case SliceNode():
                return TrustedSlice(lambda: self._pack(node), node.offset, node.size, node.mode)
            case LiteralNode():
                return Literal(node.data, node.mode)
            case LinkNode():
                return Link(node.target)
            case FolderNode():
                return Folder()
        raise TypeError(f"no way to serve a {type(node).__name__}")

    def _pack(self, node: SliceNode) -> VerifiedFile:
        pack = node.pack
        with self._lock:
            opened = self._packs.get(pack.host)
            if opened is None:
                opened = VerifiedFile(pack.host, pack.size, pack.verified_leaves(), "bytecode pack")
                self._packs[pack.host] = opened
            return opened

    def names(self, path: str) -> list[str]:
        """List a folder from the lock and the indexes, never from the host."""
        if not isinstance(self.node(path), Folder):
            raise OSError(errno.ENOTDIR, path)
        trusted = self._view.nodes.get(path)
        names = dict.fromkeys(trusted.children if isinstance(trusted, FolderNode) else ())
        names.update(self._added.get(path, {}))
        return list(names)

    def listing(self, path: str) -> Iterator[tuple[str, Attributes]]:
        for name in self.names(path):
            yield name, self.node(posixpath.join(path, name)).attributes()

    def readlink(self, path: str) -> str:
        node = self.node(path)
        if not isinstance(node, Link):
            raise OSError(errno.EINVAL, path)
        return node.target

    def statfs(self) -> dict[str, int]:
        """Say how much room the job's folder has, which is where outputs go."""
        host = os.statvfs(self._job)
        room = host.f_bavail * host.f_frsize // _BLOCK
        total = host.f_blocks * host.f_frsize // _BLOCK
        return {"f_bsize": _BLOCK, "f_frsize": _BLOCK, "f_blocks": total, "f_bfree": room, "f_bavail": room,
                "f_namemax": 255}  # fmt: skip

    # -- changing -----------------------------------------------------------------------------------------------

    def open(self, path: str, flags: int) -> Handle:
        node = self.node(path)
        if not isinstance(node, OutputFile | ProtectedInput | TrustedFile | TrustedSlice | Literal):
            raise OSError(errno.EISDIR, path)
        if is_write(flags) and not isinstance(node, OutputFile):
            raise self._refusal(path)
        return node.open(flags)

    def create(self, path: str) -> Handle:
        with self._lock:
            self.refuse_after_failure()
            output = self._new_output(path)
            output.start_empty()
            self._add(path, output)
            return output.open(0)

    def _new_output(self, path: str) -> OutputFile:
        slot = self._file_slots.get(path)
        if slot is not None:
            entry, key = slot
            return OutputFile(self._job / entry.path, entry.path, key, self._may_publish)
        folder, inner = self._output_folder(path)
        return OutputFile(folder.staging / inner, f"{folder.path}/{inner}", folder.key, self._may_publish)

    def _output_folder(self, path: str) -> tuple[OutputFolder, str]:
        """Return the output folder that `path` lies in, and the rest of the path; refuse every other place."""
        for top, folder in self._folders.items():
            if path.startswith(top + "/"):
                return folder, path[len(top) + 1 :]
        raise self._refusal(path)

    def _refusal(self, path: str) -> OSError:
        if len(self.refused) < _REMEMBERED_REFUSALS:
            self.refused[path] = None
        return OSError(errno.EROFS, path)

    def truncate(self, path: str, size: int) -> None:
        handle = self.open(path, os.O_WRONLY)
        handle.truncate(size)
        handle.flush()
        handle.close()

    def mkdir(self, path: str) -> None:
        with self._lock:
            self.refuse_after_failure()
            slot = self._folder_slots.get(path)
            if slot is not None:
                entry, key = slot
                self._folders[path] = OutputFolder(self._job / entry.path, entry.path, key)
            else:
                folder, inner = self._output_folder(path)
                os.mkdir(folder.staging / inner, 0o755)
            self._add(path, Folder(writable=True))

    def rmdir(self, path: str) -> None:
        with self._lock:
            if self.names(path):
                raise OSError(errno.ENOTEMPTY, path)
            if path in self._folders:
                self._folders.pop(path).discard()
            else:
                folder, inner = self._output_folder(path)
                os.rmdir(folder.staging / inner)
            self._remove(path)

    def unlink(self, path: str) -> None:
        with self._lock:
            node = self.node(path)
            if not isinstance(node, OutputFile):
                raise self._refusal(path)
            node.remove()
            self._remove(path)

    def rename(self, old: str, new: str) -> None:
        """Rename an output file; both names must be places for outputs."""
        with self._lock:
            node = self.node(old)
            if not isinstance(node, OutputFile):
                raise self._refusal(old)
            target = self._new_output(new)
            if target.key_id != node.key_id:
                raise OSError(errno.EXDEV, new)
            replaced = self._nodes.get(new)
            if isinstance(replaced, OutputFile):
                replaced.discard()
            elif replaced is not None:
                raise OSError(errno.EISDIR, new)
            node.rename(target.host, target.path)
            self._remove(old)
            self._add(new, node)

    def accept_change(self, path: str | None) -> int:
        """Accept chmod, chown and utimens on outputs without effect; their bits are the owner's business."""
        if path is not None and not isinstance(self.node(path), OutputFile | Folder):
            raise self._refusal(path)
        return 0

    def _remove(self, path: str) -> None:
        self._nodes.pop(path, None)
        parent, name = posixpath.split(path)
        self._added.get(parent, {}).pop(name, None)
        self._added.pop(path, None)

    # -- ending -------------------------------------------------------------------------------------------------

    def fail(self, error: Error) -> None:
        """Report the first failed check; from here on every operation is EIO and nothing is published."""
        with self._lock:
            if self.failure is not None:
                return
            self.failure = error
        self._on_failure(error)

    def refuse_after_failure(self) -> None:
        if self.failure is not None:
            raise OSError(errno.EIO, "the run was ended by a failed check")

    def _may_publish(self) -> bool:
        return self.failure is None

    def abort(self) -> None:
        """Stop publishing: the program is about to be killed, and what it had half written stays invisible."""
        self.fail(UsageError("the run was ended from outside"))

    def finish(self) -> dict[str, dict[str, object]]:
        """Publish every output and return its path, version id and size; after a failure, discard what is left."""
        with self._lock:
            outputs = [node for node in self._nodes.values() if isinstance(node, OutputFile)]
            if self.failure is not None:
                for output in outputs:
                    output.discard()
                for folder in self._folders.values():
                    folder.discard()
                return {}
            return self._publish(outputs)

    def _publish(self, outputs: list[OutputFile]) -> dict[str, dict[str, object]]:
        published: dict[str, dict[str, object]] = {}
        for output in outputs:
            output.commit()
            published[output.path] = {"version": output.version, "size": output.size}
            output.release()
        for folder in self._folders.values():
            members = {output.path: output for output in outputs if output.path.startswith(folder.path + "/")}
            published[folder.path] = {"version": folder.publish(members, self._empty_folders(folder))}
        return published

    def _empty_folders(self, folder: OutputFolder) -> list[str]:
        top = f"{self._job}/{folder.path}"
        return [
            path[len(top) + 1 :]
            for path, node in self._nodes.items()
            if path.startswith(top + "/") and isinstance(node, Folder) and not self._added.get(path)
        ]

    def versions(self, entries: Mapping[str, LockedPath]) -> dict[str, str]:
        """Return the version id of each input file that was opened, for the run's record."""
        return {
            path: node.version
            for path in entries
            if isinstance(node := self._nodes.get(f"{self._job}/{path}"), ProtectedInput)
        }
