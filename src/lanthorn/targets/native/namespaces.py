"""The runtime's own namespaces: a private mount table, and a user namespace where the caller is not root."""

from __future__ import annotations

import ctypes
import os
import resource
import time

from lanthorn.errors import RuntimeSetupError

# linux/sched.h, linux/mount.h, linux/prctl.h
_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_MS_REC = 0x4000
_MS_PRIVATE = 1 << 18
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_MNT_DETACH = 2
_UNMOUNT_TRIES = 20
_UNMOUNT_PAUSE = 0.001

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, action: str, hint: str | None = None) -> None:
    if result != 0:
        reason = os.strerror(ctypes.get_errno()).lower()
        raise RuntimeSetupError(f"cannot {action}: {reason}", hint=hint)


def enter() -> None:
    """Move this process into a mount namespace of its own, and as non-root into a user namespace.

    Must run before any thread starts. Raises `RuntimeSetupError` where the machine does not allow it.
    """
    uid, gid = os.getuid(), os.getgid()
    hint = "run `lanthorn doctor`: it says what this machine forbids and how to allow it"
    if uid == 0:
        _checked(_libc.unshare(_CLONE_NEWNS), "make a mount namespace", hint)
    else:
        _checked(_libc.unshare(_CLONE_NEWNS | _CLONE_NEWUSER), "make a user namespace", hint)
        _map_to_root(uid, gid)
    _checked(_libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None), "make mounts private", hint)


def _map_to_root(uid: int, gid: int) -> None:
    for name, content in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        try:
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(content)
        except OSError as error:
            raise RuntimeSetupError(f"cannot set up the user namespace: {name}: {error.strerror}") from error


def unmount(path: str) -> None:
    """Unmount, now or, if something still holds it, as soon as nothing does."""
    for _ in range(_UNMOUNT_TRIES):
        if _libc.umount2(path.encode(), 0) == 0:
            return
        # A process that was killed a moment ago may still be closing its files.
        time.sleep(_UNMOUNT_PAUSE)
    _libc.umount2(path.encode(), _MNT_DETACH)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies, so that no half of the runtime outlives the other."""
    parent = os.getppid()
    _libc.prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def forbid_dumps() -> None:
    """Keep keys out of core dumps and away from other processes' ptrace."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def user_namespace_possible() -> bool:
    """Try, in a child, whether this process may make a user namespace."""
    pid = os.fork()
    if pid == 0:
        os._exit(0 if _libc.unshare(_CLONE_NEWUSER) == 0 else 1)
    return os.waitpid(pid, 0)[1] == 0
