"""The program's name space: trusted files, protected inputs and protected outputs, and nothing else.

What stands in no lock does not exist (ENOENT). What the host withholds or changes ends the run: the first failed
check is reported once, and from then on nothing is served and nothing published.
"""

from __future__ import annotations

import errno
import os
import posixpath
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from lanthorn.errors import Error, UsageError
from lanthorn.job.lock import LockedPath
from lanthorn.job.view import FileNode, FolderNode, LinkNode, LiteralNode, Pack, SliceNode, View
from lanthorn.keys import WrapKey
from lanthorn.targets.native.inputs import ProtectedInput, open_inputs
from lanthorn.targets.native.nodes import Attributes, Folder, Handle, Link, Literal, Node, is_write
from lanthorn.targets.native.output_space import OutputSpace
from lanthorn.targets.native.outputs import OutputFile
from lanthorn.targets.native.trusted import TrustedFile, TrustedSlice, VerifiedFile

_BLOCK = 4096
_REGULAR = (OutputFile, ProtectedInput, TrustedFile, TrustedSlice, Literal)


class Tree:
    """Every path the program can name. Paths are absolute, normalised, as the program sees them."""

    def __init__(self, view: View, job: Path, *, on_failure: Callable[[Error], None]) -> None:
        self.failure: Error | None = None
        self._view = view
        self._job = job
        self._on_failure = on_failure
        self._nodes: dict[str, Node] = {}
        self._added: dict[str, dict[str, None]] = {}
        self._packs: dict[str, VerifiedFile] = {}
        self._outputs = OutputSpace(job, lambda: self.failure is None)
        self._lock = threading.RLock()
        self._add(str(job), Folder(writable=True))

    # filling

    def add_input(self, entry: LockedPath, key: WrapKey) -> str | None:
        """Open a protected input and give it its names; return its version id. Raises what `open_inputs` raises."""
        opened = open_inputs(self._job, entry, key)
        for path, node in opened.nodes:
            self._add(f"{self._job}/{path}", node)
        return opened.version

    def add_output(self, entry: LockedPath, key: WrapKey) -> None:
        """Reserve a path for writing. It starts absent; the folders above it exist."""
        parent = posixpath.dirname(self._outputs.reserve(entry, key))
        while parent != str(self._job):
            self._add(parent, Folder(writable=True))
            parent = posixpath.dirname(parent)

    def add_literal(self, path: str, data: bytes) -> None:
        self._add(path, Literal(data))

    def _add(self, path: str, node: Node) -> None:
        self._nodes[path] = node
        while path != "/":
            path, name = posixpath.split(path)
            names = self._added.setdefault(path, {})
            if name in names:
                return
            names[name] = None

    # looking

    def node(self, path: str) -> Node:
        """Return the node at `path`. Raises `OSError` ENOENT for what no lock names."""
        self.refuse_after_failure()
        node = self._nodes.get(path)
        if node is None:
            node = self._nodes[path] = self._serve(path)
        return node

    def _serve(self, path: str) -> Node:
        match self._view.nodes.get(path):
            case FileNode() as node:
                return TrustedFile(node.host, node.size, node.mode, node.verified_leaves, node.name)
            case SliceNode() as node:
                return TrustedSlice(partial(self._pack, node.pack), node.offset, node.size, node.mode)
            case LiteralNode() as node:
                return Literal(node.data, node.mode)
            case LinkNode() as node:
                return Link(node.target)
            case FolderNode():
                return Folder()
        if path in self._added:
            return Folder()
        raise OSError(errno.ENOENT, path)

    def _pack(self, pack: Pack) -> VerifiedFile:
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

    def listing(self, path: str) -> list[tuple[str, Attributes]]:
        """Return the names in a folder with what stat shows of them, "." and ".." first."""
        names = [(name, self.node(posixpath.join(path, name)).attributes()) for name in self.names(path)]
        return [(".", Folder().attributes()), ("..", Folder().attributes()), *names]

    def is_writable(self, path: str) -> bool:
        """Tell whether names can come and go in a folder."""
        node = self.node(path)
        return isinstance(node, Folder) and node.writable

    def readlink(self, path: str) -> str:
        node = self.node(path)
        if not isinstance(node, Link):
            raise OSError(errno.EINVAL, path)
        return node.target

    def statfs(self) -> dict[str, int]:
        """Say how much room the job's folder has, which is where outputs go."""
        host = os.statvfs(self._job)
        free = host.f_bavail * host.f_frsize // _BLOCK
        blocks = host.f_blocks * host.f_frsize // _BLOCK
        sizes = {"f_bsize": _BLOCK, "f_frsize": _BLOCK, "f_namemax": 255}
        return {**sizes, "f_blocks": blocks, "f_bfree": free, "f_bavail": free}

    # changing

    def open(self, path: str, flags: int) -> Handle:
        node = self.node(path)
        if not isinstance(node, _REGULAR):
            raise OSError(errno.EISDIR, path)
        if is_write(flags) and not isinstance(node, OutputFile):
            raise self._outputs.refusal(path)
        return node.open(flags)

    def create(self, path: str) -> Handle:
        with self._lock:
            self.refuse_after_failure()
            output = self._outputs.new_file(path)
            output.start_empty()
            self._add(path, output)
            return output.open(0)

    def truncate(self, path: str, size: int) -> None:
        handle = self.open(path, os.O_WRONLY)
        handle.truncate(size)
        handle.close()

    def mkdir(self, path: str) -> None:
        with self._lock:
            self.refuse_after_failure()
            self._outputs.make_folder(path)
            self._add(path, Folder(writable=True))

    def rmdir(self, path: str) -> None:
        with self._lock:
            if self.names(path):
                raise OSError(errno.ENOTEMPTY, path)
            self._outputs.remove_folder(path)
            self._remove(path)

    def unlink(self, path: str) -> None:
        with self._lock:
            self._output(path).remove()
            self._remove(path)

    def rename(self, old: str, new: str) -> None:
        """Rename an output file, over another one too; both names must be places for outputs."""
        with self._lock:
            output = self._output(old)
            replaced = self._nodes.get(new)
            if isinstance(replaced, Folder):
                raise OSError(errno.EISDIR, new)
            self._outputs.rename(output, new)
            if isinstance(replaced, OutputFile):
                replaced.discard()
                replaced.release()
            self._remove(old)
            self._add(new, output)

    def accept_change(self, path: str | None) -> None:
        """Accept chmod, chown and utimens on outputs without effect; refuse them on everything else."""
        if path is not None and not isinstance(self.node(path), OutputFile | Folder):
            raise self._outputs.refusal(path)

    def _output(self, path: str) -> OutputFile:
        node = self.node(path)
        if not isinstance(node, OutputFile):
            raise self._outputs.refusal(path)
        return node

    def _remove(self, path: str) -> None:
        self._nodes.pop(path, None)
        parent, name = posixpath.split(path)
        self._added.get(parent, {}).pop(name, None)

    # ending

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

    def abort(self) -> None:
        """Stop publishing: the program is about to be killed, and what it had half written stays invisible."""
        self.fail(UsageError("the run was ended from outside"))

    def finish(self) -> dict[str, dict[str, object]]:
        """Publish every output and return version id and size by path; after a failure, drop what is left."""
        with self._lock:
            if self.failure is not None:
                self._outputs.discard(self._nodes)
                return {}
            files = [node for node in self._nodes.values() if isinstance(node, OutputFile)]
            empty = [
                path
                for path, node in self._nodes.items()
                if isinstance(node, Folder) and not self._added.get(path)
            ]
            return self._outputs.publish(files, empty)

    @property
    def refused(self) -> list[str]:
        """Where the program wanted to write and must not."""
        return list(self._outputs.refused)
