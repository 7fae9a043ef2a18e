"""The trial, as a program: mount a file server of one file, and read it from inside a sandbox.

Runs in a process of its own, because it enters namespaces and forks. Goes the runtime's way: the same namespaces,
the same libfuse, bubblewrap over the mount. Prints one line; ends with 0 if the file could be read.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from lanthorn.errors import Error, RuntimeSetupError

_NAME: Final = "probe"
_CONTENTS: Final = b"read through lanthorn's file server\n"
_MOUNT_LIMIT: Final = 5.0
_SANDBOX_LIMIT: Final = 10.0


def _serve(mountpoint: str) -> None:
    # The runtime's module chooses libfuse 3, by soname, for whoever imports mfusepy after it.
    importlib.import_module("lanthorn.targets.native.fuse")
    import mfusepy

    class OneFile(mfusepy.Operations):  # type: ignore[misc]
        def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
            if path == "/":
                return {"st_mode": stat.S_IFDIR | 0o555, "st_nlink": 2}
            if path == f"/{_NAME}":
                return {"st_mode": stat.S_IFREG | 0o444, "st_nlink": 1, "st_size": len(_CONTENTS)}
            raise mfusepy.FuseOSError(2)

        def readdir(self, path: str, fh: int) -> list[str]:
            return [".", "..", _NAME]

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
            return _CONTENTS[offset : offset + size]

    options: dict[str, Any] = {"foreground": True, "nothreads": True, "fsname": "lanthorn-doctor"}
    mfusepy.FUSE(OneFile(), mountpoint, **options)


def _start_server(mountpoint: str) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with contextlib.suppress(RuntimeError):
                _serve(mountpoint)
                code = 0
        finally:
            os._exit(code)
    return child


def _wait_mounted(child: int, mountpoint: str) -> None:
    deadline = time.monotonic() + _MOUNT_LIMIT
    while not os.path.ismount(mountpoint):
        if os.waitpid(child, os.WNOHANG) != (0, 0):
            raise RuntimeSetupError("the kernel refused the FUSE mount")
        if time.monotonic() > deadline:
            raise RuntimeSetupError(f"the FUSE mount took longer than {_MOUNT_LIMIT:.0f} s")
        time.sleep(0.005)


def _read_in_sandbox(mountpoint: str, *, user_namespace: bool) -> None:
    unshare = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    user = ["--unshare-user", "--uid", "1000", "--gid", "1000"] if user_namespace else []
    view = [
        "--ro-bind",
        "/",
        "/",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--tmpfs",
        "/run",
        "--bind",
        mountpoint,
        "/run",
    ]
    command = [
        "bwrap",
        *unshare,
        *user,
        "--die-with-parent",
        "--cap-drop",
        "ALL",
        *view,
        "cat",
        f"/run/{_NAME}",
    ]
    try:
        done = subprocess.run(  # noqa: S603 - fixed words and our own folder
            command, capture_output=True, timeout=_SANDBOX_LIMIT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeSetupError(f"bubblewrap: {type(error).__name__}") from error
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise RuntimeSetupError(f"bubblewrap: {words[-1] if words else done.returncode}")
    if done.stdout != _CONTENTS:
        raise RuntimeSetupError("the sandboxed program read other bytes than the file server gave")


def main() -> int:
    """Try it and print one line. Leaves no mount and no folder behind."""
    from lanthorn.targets.native import namespaces

    # Mounts made below are private to this process and go with it.
    mountpoint = tempfile.mkdtemp(prefix="lanthorn-doctor-")
    server = 0
    try:
        namespaces.enter()
        server = _start_server(mountpoint)
        _wait_mounted(server, mountpoint)
        _read_in_sandbox(mountpoint, user_namespace=namespaces.user_namespace_possible())
    except Error as error:
        print(error.message)
        return 1
    finally:
        namespaces.unmount(mountpoint)
        if server:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(server, signal.SIGKILL)
        Path(mountpoint).rmdir()
    print("read through FUSE in a sandbox")
    return 0


if __name__ == "__main__":
    sys.exit(main())
