"""Read ahead at the start: what the last run of a lock read of its code, in its order, before the program asks for it.

A program starts by opening a thousand small files, one after the other, and each costs two switches between processors.
A helper process that reads the same files through the same mount, a little earlier, has them in the kernel's cache when
the program comes. What it reads is checked like every read. The list lies on the host and is only a hint: it names
trusted files of the view or it is ignored.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from lanthorn.errors import Error
from lanthorn.job.nodes import FileNode, FolderNode, SliceNode
from lanthorn.job.view import View
from lanthorn.storage import read_limited, write_atomically
from lanthorn.targets.native import namespaces

HINT_NAME = "start-up.hint"
MAX_HINT_BYTES = 4 << 20
MAX_STEPS = 20_000
PIECE = 256 << 10
_MAX_OPEN = 200
_WORTH_SAVING = 1.1

READ, LIST, LOOK = "read", "list", "look"

Step = tuple[str, str, int]
"""What to do with a path of the view: read a piece at an offset in bytes, list a folder, look for what is absent."""


class Trace:
    """What was asked of the code at the start of a run, each question once."""

    def __init__(self) -> None:
        self._steps: dict[Step, None] = {}

    def read(self, path: str, offset: int, length: int) -> None:
        for piece in range(offset // PIECE, (offset + max(length, 1) - 1) // PIECE + 1):
            self._add((READ, path, piece * PIECE))

    def listed(self, path: str) -> None:
        self._add((LIST, path, 0))

    def absent(self, path: str) -> None:
        self._add((LOOK, path, 0))

    def _add(self, step: Step) -> None:
        if len(self._steps) < MAX_STEPS:
            self._steps[step] = None

    def save(self, store: Path, *, known: int) -> None:
        """Leave the list for the next run, unless it says little more than the one with `known` steps did.

        A host that allows no such file costs speed and nothing else.
        """
        if len(self._steps) <= known * _WORTH_SAVING:
            return
        with contextlib.suppress(Error):
            write_atomically(store / HINT_NAME, json.dumps(list(self._steps)).encode())


def load_hint(store: Path, view: View) -> list[Step]:
    """Return what to read ahead; nothing where there is no usable list.

    Only what the trusted roots decide for the whole run is ever asked for: not even the absence of anything in the
    job's own folder, where inputs and outputs appear later.
    """
    try:
        values = json.loads(read_limited(store / HINT_NAME, MAX_HINT_BYTES))
        steps = [(kind, path, offset) for kind, path, offset in values[:MAX_STEPS]]
    except (Error, ValueError, TypeError, RecursionError):
        return []
    return [step for step in steps if _is_settled(step, view)]


def _is_settled(step: Step, view: View) -> bool:
    kind, path, offset = step
    if not isinstance(path, str) or type(offset) is not int or offset < 0:
        return False
    if f"{path}/".startswith(f"{view.locations['job']}/"):
        return kind == READ and isinstance(view.nodes.get(path), FileNode)
    match kind:
        case "read":
            return isinstance(view.nodes.get(path), FileNode | SliceNode)
        case "list":
            return isinstance(view.nodes.get(path), FolderNode)
        case "look":
            folder, _, name = path.rpartition("/")
            clean = name not in ("", ".", "..")
            return clean and path not in view.nodes and isinstance(view.nodes.get(folder), FolderNode)
    return False


def start(steps: Iterable[Step], mountpoint: str) -> tuple[int, Callable[[], None]]:
    """Fork the helper. Return its process id and what to call when the mount answers."""
    ready, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go)
        _warm(steps, mountpoint, ready)
    os.close(ready)
    return pid, lambda: os.close(go)


def _warm(steps: Iterable[Step], mountpoint: str, ready: int) -> None:
    """Live as the helper; never returns. Whatever goes wrong here, the program's own read will tell."""
    try:
        namespaces.die_with_parent()
        with _beside_the_server():
            os.read(ready, 1)
            files = _Files(mountpoint)
            for step in steps:
                with contextlib.suppress(OSError):
                    files.take(*step)
    finally:
        os._exit(0)


@contextlib.contextmanager
def _beside_the_server() -> Iterator[None]:
    """Share one processor with the server while it answers this process, and leave the others to the program.

    Two that take turns on one processor are woken by a switch; across processors it takes an interrupt, which in a
    virtual machine costs more than the answer: 0.7 s instead of 2 s for what `import torch` reads.
    """
    server, processors = os.getppid(), os.sched_getaffinity(0)
    for process in (server, 0):
        os.sched_setaffinity(process, {max(processors)})
    try:
        yield
    finally:
        os.sched_setaffinity(server, processors)


class _Files:
    """Files kept open: opening a large one checks its whole hash tree."""

    def __init__(self, mountpoint: str) -> None:
        self._mountpoint = mountpoint
        self._descriptors: dict[str, int] = {}

    def take(self, kind: str, path: str, offset: int) -> None:
        if kind == READ:
            os.pread(self._open(path), PIECE, offset)
        elif kind == LIST:
            os.listdir(self._mountpoint + path)
        else:
            os.lstat(self._mountpoint + path)

    def _open(self, path: str) -> int:
        descriptor = self._descriptors.get(path)
        if descriptor is None:
            if len(self._descriptors) >= _MAX_OPEN:
                os.close(self._descriptors.pop(next(iter(self._descriptors))))
            descriptor = os.open(self._mountpoint + path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            self._descriptors[path] = descriptor
        return descriptor


def stop(pid: int) -> None:
    """End the helper, so that it holds nothing open when the mount is taken down."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
