"""What the native runtime needs: FUSE, bubblewrap, namespaces, and that the three work together."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lanthorn.doctor.finding import Finding, info, missing, ok
from lanthorn.doctor.machine import Machine

SONAMES: Final = ("libfuse3.so.4", "libfuse3.so.3")
# --clearenv, which keeps the operator's environment out of the program's, came with 0.5.0.
MINIMUM_BUBBLEWRAP: Final = (0, 5, 0)
_APPARMOR: Final = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
# For a sysctl that counts, and two switches of Debian's and Ubuntu's kernels.
_LIMITS: Final = (
    ("/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces=15000"),
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
)


def check_native(machine: Machine) -> list[Finding]:
    """Say what of the native runtime's needs is there; the last finding is a real trial of all of it."""
    parts = [
        _fuse_device(machine),
        _libfuse(machine),
        _fusermount(machine),
        _bubblewrap(machine),
        _user_namespaces(machine),
    ]
    return [*parts, _trial(machine, parts)]


def _fuse_device(machine: Machine) -> Finding:
    name, device = "FUSE device", "/dev/fuse"
    if not machine.has(device):
        container = "in a container: start it with --device /dev/fuse"
        return missing(name, f"no {device}", "as root: modprobe fuse", container, required=True)
    reason = machine.open_error(device)
    if reason:
        hint = "as root: chmod 0666 /dev/fuse (what udev does where it runs)"
        return missing(name, f"{device}: {reason}", hint, required=True)
    return ok(name, f"{device} can be opened")


def _libfuse(machine: Machine) -> Finding:
    found = next((soname for soname in SONAMES if machine.loads(soname)), None)
    if found:
        return ok("libfuse 3", found)
    return missing(
        "libfuse 3", f"none of {', '.join(SONAMES)}", "as root: apt-get install libfuse3-3", required=True
    )


def _fusermount(machine: Machine) -> Finding:
    found = machine.which("fusermount3")
    if found:
        return ok("fusermount3", found)
    # Not required: inside its own namespace the runtime may mount without a helper.
    return missing("fusermount3", "not on PATH", "as root: apt-get install fuse3")


def _bubblewrap(machine: Machine) -> Finding:
    install = "as root: apt-get install bubblewrap"
    found = machine.which("bwrap")
    if not found:
        return missing("bubblewrap", "bwrap is not on PATH", install, required=True)
    outcome = machine.run([found, "--version"])
    match = re.fullmatch(r"bubblewrap (\d{1,4})\.(\d{1,4})\.(\d{1,4})\b.*", outcome.text)
    if not outcome.succeeded or not match:
        return missing(
            "bubblewrap", f"{found} --version: {outcome.text or 'no answer'}", install, required=True
        )
    version = tuple(int(part) for part in match.groups())
    words = ".".join(match.groups())
    if version < MINIMUM_BUBBLEWRAP:
        wanted = ".".join(map(str, MINIMUM_BUBBLEWRAP))
        return missing("bubblewrap", f"version {words}, expected {wanted} or later", install, required=True)
    return ok("bubblewrap", f"{words}, {found}")


def _user_namespaces(machine: Machine) -> Finding:
    outcome = machine.user_namespace()
    if outcome.succeeded:
        return ok("user namespaces", "can be made by this user")
    hints = tuple(_userns_hints(machine))
    if machine.uid == 0:
        return info("user namespaces", f"{outcome.text}; not needed as root", *hints)
    last_resort = "run lanthorn as root: it needs no user namespace then"
    return missing("user namespaces", outcome.text, *hints, last_resort, required=True)


def _userns_hints(machine: Machine) -> Iterator[str]:
    for file, forbidden, setting in _LIMITS:
        if (machine.read(file) or "").strip() == forbidden:
            yield f"as root: sysctl -w {setting}"
    if (machine.read(_APPARMOR) or "").strip() not in ("", "0"):
        # Ubuntu 24.04: the namespace can be made, but nothing can be mounted in it. Both programs need a profile:
        # the runtime makes one namespace, bubblewrap another one inside it.
        yield f"as root: {apparmor_command(Path(sys.executable).resolve())}"
        yield "or, for every program of this machine: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"


def apparmor_command(python: Path) -> str:
    """Return the command that lets bubblewrap and this Python, and no other program, make user namespaces."""
    profiles = " ".join(
        f"'profile {name} {program} flags=(unconfined) {{ userns, }}'"
        for name, program in (("lanthorn-bwrap", "/usr/bin/bwrap"), ("lanthorn-python", python))
    )
    file = "/etc/apparmor.d/lanthorn"
    lines = f"'abi <abi/4.0>,' 'include <tunables/global>' {profiles}"
    return f"printf '%s\\n' {lines} > {file} && apparmor_parser -r {file}"


def _trial(machine: Machine, parts: list[Finding]) -> Finding:
    name = "sandbox over FUSE"
    absent = [finding.name for finding in parts if finding.blocks]
    if absent:
        return missing(name, f"not tried: {', '.join(absent)} missing", required=True)
    outcome = machine.trial()
    if outcome.succeeded:
        return ok(name, "a sandboxed program read a file through FUSE")
    container = (
        "in a container: allow mount and namespaces, for instance --cap-add SYS_ADMIN --device /dev/fuse"
    )
    return missing(name, outcome.text or "the trial failed without a word", container, required=True)
