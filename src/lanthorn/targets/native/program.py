"""The program as a process: start it in its sandbox, carry signals to it, gather its output, wait for its end."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Protocol

from lanthorn.errors import Error, RuntimeSetupError
from lanthorn.targets.native.processes import children

_READ = 1 << 16
_FIRST = 1024
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class Watched(Protocol):
    """What can end the run from beside the program: the file server."""

    def fileno(self) -> int: ...

    def notice(self) -> Error | None: ...

    def abort(self) -> None: ...


class Program:
    """One run of bubblewrap. `output` gets what the program prints; None leaves it on the operator's terminal."""

    def __init__(self, command: Callable[[int], list[str]], output: Callable[[bytes], None] | None) -> None:
        self._output = output
        self._interrupts = 0
        self._first = b""
        status, status_end = os.pipe()
        pipe, pipe_end = os.pipe() if output else (-1, -1)
        stream = pipe_end if output else None
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own sandbox command
                command(status_end), stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
                pass_fds=(status_end,), close_fds=True,
            )  # fmt: skip
        except OSError as error:
            hint = "as root: apt-get install bubblewrap"
            raise RuntimeSetupError(f"cannot start bubblewrap: {error.strerror}", hint=hint) from error
        finally:
            os.close(status_end)
            if output:
                os.close(pipe_end)
        self._status = os.fdopen(status, "rb")
        self._pipe = pipe

    def wait(self, server: Watched) -> int:
        """Wait for the end and return the exit code, 128+N after signal N. Raises the file server's failed check."""
        failure: Error | None = None
        with self._forwarding(server), selectors.DefaultSelector() as selector:
            ended = os.pidfd_open(self._process.pid)
            selector.register(ended, selectors.EVENT_READ)
            selector.register(server.fileno(), selectors.EVENT_READ)
            if self._output:
                selector.register(self._pipe, selectors.EVENT_READ)
            running = True
            while running:
                for key, _ in selector.select():
                    if key.fd == ended:
                        running = False
                    elif key.fd == self._pipe:
                        if not self._drain_once():
                            selector.unregister(self._pipe)
                    elif failure is None and (failure := server.notice()) is not None:
                        self._process.kill()
                        selector.unregister(server.fileno())
            os.close(ended)
        self._drain()
        if failure is not None:
            raise failure
        return self._exit_code()

    def _exit_code(self) -> int:
        self._process.wait()
        for line in self._status:
            message = json.loads(line)
            if "exit-code" in message:
                return int(message["exit-code"])
        if self._process.returncode < 0:
            return 128 - self._process.returncode
        # Without an exit code the program never ran, so that what was printed is bubblewrap's alone.
        said = self._first.decode(errors="replace").partition("\n")[0]
        reason = f": {said}" if said.startswith("bwrap: ") else ""
        raise RuntimeSetupError(f"the sandbox could not be made{reason}", hint="run `lanthorn doctor`")

    def _drain_once(self) -> bool:
        data = os.read(self._pipe, _READ)
        self._first = self._first or data[:_FIRST]
        if data and self._output:
            self._output(data)
        return bool(data)

    def _drain(self) -> None:
        if self._output:
            while self._drain_once():
                continue
            os.close(self._pipe)

    @contextlib.contextmanager
    def _forwarding(self, server: Watched) -> Iterator[None]:
        """Pass signals on to the program; a second Ctrl-C kills it, and nothing half written is published."""

        def forward(number: int, frame: FrameType | None) -> None:
            self._interrupts += number == signal.SIGINT
            if self._interrupts > 1:
                server.abort()
                self._process.kill()
            else:
                self._signal(number)

        before = {number: signal.signal(number, forward) for number in _FORWARDED}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _signal(self, number: int) -> None:
        # bubblewrap's process, then its init in the new process namespace, then the program.
        init = children(self._process.pid)
        programs = children(init[0]) if init else []
        for process in programs or [self._process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
