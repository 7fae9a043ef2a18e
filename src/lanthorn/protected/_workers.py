"""Worker processes for big files: forked, so that keys reach them in memory alone.

A worker sends frames through a pipe: a result, an error of ours, or the end. One that goes away without the
end is an error. Call it from a process with one thread only: the command line does, the runtime does not.
"""

from __future__ import annotations

import os
import selectors
import signal
import struct
from collections.abc import Callable, Generator
from typing import Final

import lanthorn.errors
from lanthorn.errors import Error, StorageError

MAX_WORKERS: Final = 8
"""Beyond, disks and memory are the limit."""

_FRAME: Final = struct.Struct("<cI")
_MAX_PAYLOAD: Final = 4096
_RESULT, _ERROR, _END = b"r", b"e", b"d"

Results = Generator[bytes, None, None]
Job = Callable[[int], Results]
"""Called with the worker's number in the worker; yields results of at most 4096 bytes."""


def worker_count() -> int:
    """Return how many processes are worth having: one for each core this process may use."""
    return min(MAX_WORKERS, len(os.sched_getaffinity(0)))


def run_workers(count: int, job: Job) -> Results:
    """Run `job(0)` to `job(count - 1)` in processes of their own and yield their results as they come.

    Leaving early, by an exception too, kills and reaps all workers. Raises what a worker raised.
    """
    workers: dict[int, int] = {}
    try:
        for index in range(count):
            read_end, pid = _start(index, job, list(workers))
            workers[read_end] = pid
        yield from _collect(list(workers))
    finally:
        for descriptor, pid in workers.items():
            os.close(descriptor)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _start(index: int, job: Job, others: list[int]) -> tuple[int, int]:
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid:
        os.close(write_end)
        return read_end, pid
    try:
        # Ctrl-C goes to the whole group; the parent decides, cleans up and kills.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        for descriptor in (*others, read_end):
            os.close(descriptor)
        _work(index, job, write_end)
    finally:
        os._exit(0)


def _work(index: int, job: Job, write_end: int) -> None:
    try:
        for payload in job(index):
            _send(write_end, _RESULT, payload)
        _send(write_end, _END, b"")
    except Error as error:
        text = "\0".join((type(error).__name__, error.message, error.hint or ""))
        _send(write_end, _ERROR, text.encode("utf-8", "replace")[:_MAX_PAYLOAD])
    except Exception as error:
        _send(write_end, _ERROR, f"Error\0a worker failed: {type(error).__name__}\0".encode())


def _send(write_end: int, kind: bytes, payload: bytes) -> None:
    view = memoryview(_FRAME.pack(kind, len(payload)) + payload)
    while view:
        view = view[os.write(write_end, view) :]


def _collect(read_ends: list[int]) -> Results:
    with selectors.DefaultSelector() as selector:
        for descriptor in read_ends:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            for ready, _ in selector.select():
                kind, payload = _receive(ready.fd)
                if kind == _ERROR:
                    raise _rebuild(payload)
                if kind == _RESULT:
                    yield payload
                else:
                    selector.unregister(ready.fd)


def _receive(descriptor: int) -> tuple[bytes, bytes]:
    kind, length = _FRAME.unpack(_read(descriptor, _FRAME.size))
    return kind, _read(descriptor, length)


def _read(descriptor: int, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = os.read(descriptor, length - len(data))
        if not more:
            raise StorageError("a worker process ended before its work was done", hint="out of memory?")
        data += more
    return data


def _rebuild(payload: bytes) -> Error:
    name, message, hint = [*payload.decode("utf-8", "replace").split("\0"), "", ""][:3]
    kind = getattr(lanthorn.errors, name, Error)
    error = kind(message, hint=hint or None)
    return error if isinstance(error, Error) else Error(message)
