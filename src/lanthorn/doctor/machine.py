"""The machine as the checks see it. Everything that asks the kernel or starts a program is a field here.

Nothing is changed on the machine, but that a TSM report entry is made and removed to read the provider's name.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# linux/sched.h, linux/mount.h
_CLONE_NEWNS: Final = 0x00020000
_CLONE_NEWUSER: Final = 0x10000000
_MS_REC_PRIVATE: Final = 0x4000 | 1 << 18

MAX_READ: Final = 64 * 1024
"""Bytes that are read of any file of /proc or /sys."""
TIME_LIMIT: Final = 20.0
"""Seconds that a program may take to answer."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program or a probe ended; `text` is what it said, on one line."""

    succeeded: bool
    text: str


@dataclass(frozen=True)
class Machine:
    """A file system root, a user id, and the probes."""

    root: Path
    uid: int
    which: Callable[[str], str | None]
    run: Callable[[Sequence[str]], Outcome]
    loads: Callable[[str], bool]
    """Whether the dynamic loader finds a library of this soname."""
    user_namespace: Callable[[], Outcome]
    trial: Callable[[], Outcome]
    """Mount a file server and read through it in a sandbox, as `lanthorn run` does."""

    def path(self, name: str) -> Path:
        """Return where the absolute path `name` lies below the root."""
        return self.root / name.lstrip("/")

    def has(self, name: str) -> bool:
        """Return whether `name` exists, as far as this user can see."""
        return os.path.exists(self.path(name))

    def read(self, name: str) -> str | None:
        """Return a small text file's contents, or None where it cannot be read."""
        try:
            with open(self.path(name), "rb") as file:
                return file.read(MAX_READ).decode(errors="replace")
        except OSError:
            return None

    def open_error(self, name: str) -> str | None:
        """Return why this user cannot open a device for reading and writing; None if it can."""
        try:
            os.close(os.open(self.path(name), os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
        except OSError as error:
            return (error.strerror or "cannot be opened").lower()
        return None


def this_machine() -> Machine:
    """Return the machine that this process runs on."""
    return Machine(
        root=Path("/"),
        uid=os.getuid(),
        which=shutil.which,
        run=_run,
        loads=_loads,
        user_namespace=_user_namespace,
        trial=lambda: _run([sys.executable, "-m", "lanthorn.doctor.probe"]),
    )


def _run(command: Sequence[str]) -> Outcome:
    try:
        done = subprocess.run(  # noqa: S603 - names of programs are ours or found by `which`
            command, capture_output=True, text=True, errors="replace", timeout=TIME_LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        return Outcome(False, f"{command[0]}: no answer in {TIME_LIMIT:.0f} s")
    except OSError as error:
        return Outcome(False, f"{command[0]}: {(error.strerror or type(error).__name__).lower()}")
    text = done.stdout.strip() or done.stderr.strip()
    return Outcome(done.returncode == 0, " ".join((text.splitlines() or [""])[-1].split())[:300])


def _loads(soname: str) -> bool:
    try:
        ctypes.CDLL(soname)
    except OSError:
        return False
    return True


def _user_namespace() -> Outcome:
    """Try, in a child, what the runtime does as an ordinary user: a namespace, and a mount inside it.

    Where AppArmor restricts user namespaces, `unshare` succeeds and only the mount is refused.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, _enter_namespace().encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        said = file.read(MAX_READ).decode(errors="replace")
    os.waitpid(child, 0)
    return Outcome(said == "entered", said or "the probe died")


def _enter_namespace() -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    uid = os.getuid()
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS) != 0:
        return f"unshare: {_reason(ctypes.get_errno())}"
    try:
        with open("/proc/self/uid_map", "w", encoding="ascii") as file:
            file.write(f"0 {uid} 1")
    except OSError as error:
        return f"uid_map: {_reason(error.errno)}"
    if libc.mount(b"none", b"/", None, _MS_REC_PRIVATE, None) != 0:
        return f"mount: {_reason(ctypes.get_errno())}"
    return "entered"


def _reason(number: int | None) -> str:
    return os.strerror(number or errno.EIO).lower()
