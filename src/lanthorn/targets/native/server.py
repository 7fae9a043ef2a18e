"""The file server's process: forked before there are keys, mounts while they are on their way, serves, publishes.

It is the only process, beside its supervisor, that ever holds a wrap key.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanthorn.errors import Error, RuntimeSetupError
from lanthorn.job.lock import Lock
from lanthorn.job.view import assemble
from lanthorn.keys import WrapKey
from lanthorn.targets.native import namespaces, warming
from lanthorn.targets.native.messages import Channel, pack_error, pair, unpack_error

_READ_AHEAD_KB = 2048


@dataclass(frozen=True)
class Served:
    """What the server works from: the lock, where its files lie here, and where to mount."""

    lock: Lock
    store: Path
    locations: dict[str, Path]
    mountpoint: str

    @property
    def job(self) -> Path:
        return self.locations["job"]


class FileServer:
    """The supervisor's handle on the server process."""

    def __init__(self, served: Served) -> None:
        """Fork the server. Must be called while this process has one thread."""
        self.failure: Error | None = None
        self.mountpoint = served.mountpoint
        self._warmer = 0
        self._channel, theirs = pair()
        self._pid = os.fork()
        if self._pid == 0:
            _main(served, theirs, self._channel)
        theirs.close()

    def fileno(self) -> int:
        return self._channel.fileno()

    def wait_mounted(self) -> dict[str, Any]:
        """Wait until requests are answered; return what the view's top level looks like."""
        mounted = self._expect("mounted")
        self._warmer = mounted["warmer"]
        _widen_read_ahead(self.mountpoint)
        return mounted

    def unlock(self, keys: Sequence[tuple[int, WrapKey]]) -> dict[str, str]:
        """Hand over the keys, one for each protected entry by its number. Return the inputs' version ids.

        Raises whatever check of an input failed.
        """
        self._channel.send("unlock", keys=[[number, key.raw.hex()] for number, key in keys])
        versions: dict[str, str] = self._expect("unlocked")["versions"]
        return versions

    def abort(self) -> None:
        """Stop publishing before the program is killed."""
        self._channel.send("abort")
        self._expect("aborted")

    def notice(self) -> Error | None:
        """Read a message that came by itself: a failed check, or the server's end."""
        message = self._channel.receive()
        if message is None or message["kind"] == "finished":
            return self._fail(RuntimeSetupError("the file server died during the run"))
        if message["kind"] == "failed":
            return self._fail(unpack_error(message["error"]))
        return None

    def finish(self) -> dict[str, Any]:
        """Unmount, wait until every output is in place, and return what was published."""
        warming.stop(self._warmer)
        namespaces.unmount(self.mountpoint)
        result = self._expect("finished")
        self._reap()
        return result

    def kill(self) -> None:
        """End the server at once, whatever state it is in; nothing further is published."""
        if self._pid:
            if self._warmer:
                warming.stop(self._warmer)
            namespaces.unmount(self.mountpoint)
            os.kill(self._pid, signal.SIGKILL)
            self._reap()

    def _reap(self) -> None:
        os.waitpid(self._pid, 0)
        self._pid = 0

    def _fail(self, error: Error) -> Error:
        if self.failure is None:
            self.failure = error
        return self.failure

    def _expect(self, kind: str) -> dict[str, Any]:
        while (message := self._channel.receive()) is not None:
            if message["kind"] == kind:
                return message
            if message["kind"] == "failed":
                error = self._fail(unpack_error(message["error"]))
                if kind not in ("finished", "aborted"):
                    raise error
        raise self._fail(RuntimeSetupError("the file server died"))


def _widen_read_ahead(mountpoint: str) -> None:
    """Let the kernel ask for larger pieces: 0.9 GB/s of decrypted sequential reads instead of 0.7.

    Only root may; anybody else keeps the kernel's 128 KiB.
    """
    device = os.stat(mountpoint).st_dev
    with contextlib.suppress(OSError):
        setting = f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb"
        Path(setting).write_text(str(_READ_AHEAD_KB), encoding="ascii")


def _main(served: Served, channel: Channel, theirs: Channel) -> None:
    """Live as the server process; never returns."""
    code = 1
    try:
        theirs.close()
        os.setsid()
        _silence_libfuse()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        namespaces.die_with_parent()
        _serve(served, channel)
        code = 0
    except Error as error:
        channel.send("failed", error=pack_error(error))
    except BaseException as error:
        failure = RuntimeSetupError(f"the file server failed: {type(error).__name__}")
        channel.send("failed", error=pack_error(failure))
    finally:
        os._exit(code)


def _silence_libfuse() -> None:
    """Keep libfuse's own lines off the operator's terminal; what matters is sent to the supervisor as an error."""
    if not logging.getLogger().isEnabledFor(logging.DEBUG):
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nowhere, 2)
        os.close(nowhere)


def _serve(served: Served, channel: Channel) -> None:
    from lanthorn.targets.native import fuse
    from lanthorn.targets.native.sandbox import ETC
    from lanthorn.targets.native.tree import Tree

    # Tens of thousands of nodes that live as long as the process: collecting them takes a fifth of making them.
    gc.disable()
    view = assemble(served.lock, served.store, served.locations)
    gc.freeze()
    gc.enable()
    tree = Tree(view, served.job, on_failure=lambda error: channel.send("failed", error=pack_error(error)))
    for path, text in ETC.items():
        tree.add_literal(path, text.encode())
    steps = warming.load_hint(served.store, view)
    warmer, go = warming.start(steps, served.mountpoint)
    threading.Thread(target=_listen, args=(channel, tree, served.lock), daemon=True).start()

    def mounted() -> None:
        go()
        channel.send("mounted", top=_top(tree), program=view.program, warmer=warmer)

    trace = warming.Trace()
    fuse.serve(tree, served.mountpoint, mounted, trace)
    if tree.failure is None:
        trace.save(served.store, known=len(steps))
    outputs = tree.finish()
    channel.send("finished", outputs=outputs, refused=tree.refused)


def _top(tree: Any) -> dict[str, str | None]:  # noqa: ANN401 - Tree, imported late for its import cost
    """Return the names at the root: link targets for links, None for folders."""
    from lanthorn.targets.native.nodes import Link

    nodes = {name: tree.node(f"/{name}") for name in tree.names("/")}
    return {name: node.target if isinstance(node, Link) else None for name, node in nodes.items()}


def _listen(channel: Channel, tree: Any, lock: Lock) -> None:  # noqa: ANN401 - Tree, as above
    while (message := channel.receive()) is not None:
        if message["kind"] == "unlock":
            _unlock(channel, tree, lock, message["keys"])
        elif message["kind"] == "abort":
            tree.abort()
            channel.send("aborted")


def _unlock(channel: Channel, tree: Any, lock: Lock, keys: list[tuple[int, str]]) -> None:  # noqa: ANN401
    try:
        versions: dict[str, str | None] = {}
        for number, raw in keys:
            entry = lock.protected[number]
            key = WrapKey(bytes.fromhex(raw))
            if entry.access == "read":
                versions[entry.path] = tree.add_input(entry, key)
            else:
                tree.add_output(entry, key)
        channel.send("unlocked", versions=versions)
    except Error as error:
        tree.fail(error)
