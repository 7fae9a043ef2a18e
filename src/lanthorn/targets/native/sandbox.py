"""The program's world, built by bubblewrap: the file server's view, a private tmpfs, and nothing of the host's.

No network, no other processes, no capabilities, a fixed environment. Pure: this module only writes the command.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

HOME = "/tmp/home"  # noqa: S108 - inside the sandbox, on its own tmpfs
_UID = "1000"
# Made by bubblewrap itself; a root of the job that lies below one of these is bound again on top of it.
_OWN = ("dev", "proc", "run", "sys", "tmp")
_PRIVATE = ("/dev/shm", "/run", "/tmp")  # noqa: S108 - each a tmpfs that only the program sees
_CPU = "/sys/devices/system/cpu"

# What a program finds in every sandbox unless its lock says otherwise.
DEFAULT_ENVIRONMENT = {
    "HOME": HOME,
    "USER": "lanthorn",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
}

ETC = {
    "/etc/passwd": f"root:x:0:0:root:/:/usr/sbin/nologin\nlanthorn:x:{_UID}:{_UID}::{HOME}:/usr/sbin/nologin\n",
    "/etc/group": f"root:x:0:\nlanthorn:x:{_UID}:\n",
    "/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


@dataclass(frozen=True)
class World:
    """What the sandbox is made of."""

    mountpoint: str
    top: Mapping[str, str | None]
    """Names at the root of the view: a link's target, or None for a folder."""
    roots: Sequence[str]
    """Absolute folders of the view that must be visible even below the sandbox's own /tmp, /run or /dev/shm."""
    folder: str
    environment: Mapping[str, str]
    command: Sequence[str]
    user_namespace: bool


def bubblewrap(world: World, *, status_fd: int) -> list[str]:
    """Return the command that starts the program; its process id and exit code go to `status_fd` as JSON."""
    command = [
        "bwrap",
        "--unshare-ipc",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-uts",
        "--unshare-cgroup-try",
    ]
    command += [
        "--die-with-parent",
        "--new-session",
        "--cap-drop",
        "ALL",
        "--hostname",
        "lanthorn",
        "--clearenv",
    ]
    if world.user_namespace:
        command += ["--unshare-user", "--uid", _UID, "--gid", _UID]
    command += ["--json-status-fd", str(status_fd)]
    for name, value in {**DEFAULT_ENVIRONMENT, **world.environment}.items():
        command += ["--setenv", name, value]
    command += _file_system(world)
    return [*command, "--chdir", world.folder, "--", *world.command]


def _file_system(world: World) -> list[str]:
    arguments: list[str] = []
    for name, target in sorted(world.top.items()):
        if name in _OWN:
            continue
        if target is None:
            arguments += ["--bind", f"{world.mountpoint}/{name}", f"/{name}"]
        else:
            arguments += ["--symlink", target, f"/{name}"]
    arguments += ["--proc", "/proc", "--dev", "/dev"]
    for private in _PRIVATE:
        arguments += ["--tmpfs", private]
    arguments += ["--dir", HOME, "--ro-bind-try", _CPU, _CPU]
    for root in sorted(set(world.roots)):
        if root.split("/")[1] in _OWN:
            arguments += ["--bind", world.mountpoint + root, root]
    return [*arguments, "--remount-ro", "/"]
