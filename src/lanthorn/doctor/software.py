"""Gramine, Python and libraries, and where plaintext pages of a simulated run could go."""

from __future__ import annotations

import importlib.metadata
import platform
import re
from collections.abc import Iterator
from typing import Final

from lanthorn.doctor.finding import Finding, info, missing, ok
from lanthorn.doctor.machine import Machine

_EXTRA: Final = re.compile(r";.*\bextra\b")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check_software(machine: Machine) -> list[Finding]:
    """Say what software there is. None of it is asked for its integrity: that is what a lock is for."""
    return [
        ok("Python", f"{platform.python_version()} ({platform.python_implementation()})"),
        _libraries(),
        *_gramine(machine),
        _core_dumps(machine),
        _swap(machine),
    ]


def _libraries() -> Finding:
    try:
        wanted = importlib.metadata.requires("lanthorn") or []
    except importlib.metadata.PackageNotFoundError:
        return info(
            "libraries", "lanthorn runs from a folder and is not installed: nothing says what it needs"
        )
    absent, present = [], []
    for name in _required(wanted):
        try:
            present.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            absent.append(name)
    if absent:
        hint = f"python -m pip install {' '.join(absent)}"
        return missing("libraries", f"not installed: {', '.join(absent)}", hint, required=True)
    return ok("libraries", ", ".join(present))


def _required(wanted: list[str]) -> list[str]:
    return [match[0] for line in wanted if not _EXTRA.search(line) and (match := _NAME.match(line))]


def _gramine(machine: Machine) -> Iterator[Finding]:
    """Both loaders come in one package; only its tool tells the version."""
    tool = machine.which("gramine-sgx-sign")
    outcome = machine.run([tool, "--version"]) if tool else None
    version = f" ({outcome.text})" if outcome and outcome.succeeded and outcome.text else ""
    for name in ("gramine-direct", "gramine-sgx"):
        found = machine.which(name)
        if found:
            yield info(name, f"{found}{version}; this version of lanthorn has no Gramine target")
        else:
            yield info(name, "not on PATH; this version of lanthorn does not use it")


def _core_dumps(machine: Machine) -> Finding:
    pattern = (machine.read("/proc/sys/kernel/core_pattern") or "unknown").strip()
    if pattern.startswith("|"):
        hint = "as root: sysctl -w kernel.core_pattern=core"
        return info(
            "core dumps", f"go to {pattern[1:].split()[0]}: a crash of the program hands it plaintext", hint
        )
    return info("core dumps", f"pattern {pattern!r}; the runtime's own memory is never dumped")


def _swap(machine: Machine) -> Finding:
    devices = (machine.read("/proc/swaps") or "").splitlines()[1:]
    if not devices:
        return info("swap", "off")
    names = ", ".join(line.split()[0] for line in devices if line.split())
    return info("swap", f"{names}: plaintext pages may be written there", "as root: swapoff -a")
