"""The parts of a lock, and how each is read from its table of `[job]`.

Every reader takes all of its table and refuses the rest, in the error class of the `Fields` it is given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lanthorn.job.fields import NAME, Fields
from lanthorn.job.paths import ROOTS, RootPath, normalise

BYTECODE = "bytecode"

_HEX64 = re.compile(r"[0-9a-f]{64}")
PIN = re.compile(r"sha256:[0-9a-f]{64}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VERSION = re.compile(r"[0-9A-Za-z.+_-]{1,64}")


@dataclass(frozen=True)
class LockedPath:
    """A protected file or folder. `version` is the id an input must have; None if floating or an output."""

    path: str
    key: str
    access: str
    kind: str
    version: str | None
    floating: bool


@dataclass(frozen=True)
class LockedBroker:
    """A broker: its pins are locked, its address is not."""

    name: str
    spki: tuple[str, ...]
    url: str | None


@dataclass(frozen=True)
class LockedPython:
    """The interpreter. `executable` is relative to its root; `venv`: the environment is another prefix."""

    implementation: str
    version: str
    cache_tag: str
    executable: str
    venv: bool


@dataclass(frozen=True)
class RootSummary:
    """A root in the lock: how much it holds, and the SHA-256 of its list."""

    name: str
    files: int
    bytes: int
    digest: str


def read_program(table: Fields) -> RootPath:
    program = RootPath(table.choice("root", ("environment", "interpreter")), _relative(table, "path"))
    table.done()
    return program


def _relative(table: Fields, key: str) -> str:
    path = table.text(key)
    try:
        clean = normalise(path)
    except ValueError as error:
        raise table.refuse(key, f"{path!r:.200}: {error}") from error
    if clean != path:
        raise table.refuse(key, f"{path!r:.200} is not normalised")
    return path


def read_environment(table: Fields) -> Mapping[str, str]:
    variables = table.mapping()
    for name in variables:
        if not VARIABLE.fullmatch(name):
            raise table.refuse(name, "is not a name of an environment variable")
    table.done()
    return variables


def read_network(job: Fields) -> tuple[str, ...]:
    network = job.texts("network")
    if network:
        raise job.refuse("network", "must be empty: this version gives a job no network")
    return network


def read_protected(table: Fields) -> LockedPath:
    entry = LockedPath(
        path=_relative(table, "path"),
        key=table.name("key"),
        access=table.choice("access", ("read", "write")),
        kind=table.choice("kind", ("file", "folder")),
        version=table.text("version") if table.has("version") else None,
        floating=table.flag("floating", False),
    )
    table.done()
    pinned = entry.version is not None
    if pinned and not _HEX64.fullmatch(entry.version or ""):
        raise table.refuse("version", "expected 64 lower-case hex digits")
    if pinned == (entry.floating or entry.access == "write"):
        raise table.refuse("version", "stands for every read entry that is not floating, and for no other")
    if entry.floating and entry.access == "write":
        raise table.refuse("floating", "only means something for access 'read'")
    return entry


def read_keys(table: Fields, brokers: Mapping[str, LockedBroker]) -> Mapping[str, str]:
    keys = table.mapping()
    for name, broker in keys.items():
        if not NAME.fullmatch(name):
            raise table.refuse(name, "is not a name of a key")
        if broker not in brokers:
            raise table.refuse(name, f"no broker {broker!r:.80}")
    table.done()
    return keys


def read_brokers(table: Fields, urls: Mapping[str, str]) -> Mapping[str, LockedBroker]:
    brokers = {}
    for name in table.names():
        pins = table.texts(name)
        if not NAME.fullmatch(name):
            raise table.refuse(name, "is not a name of a broker")
        if not 1 <= len(pins) <= 2 or len(set(pins)) != len(pins) or not all(map(PIN.fullmatch, pins)):
            raise table.refuse(name, "expected one or two pins 'sha256:<64 lower-case hex digits>'")
        brokers[name] = LockedBroker(name, pins, urls.get(name))
    return brokers


def read_python(table: Fields) -> LockedPython:
    python = LockedPython(
        implementation=table.name("implementation"),
        version=table.text("version"),
        cache_tag=table.name("cache_tag"),
        executable=_relative(table, "executable"),
        venv=table.flag("venv"),
    )
    # The version goes into a synthesised pyvenv.cfg: a line break in it would be another setting.
    if not _VERSION.fullmatch(python.version):
        raise table.refuse("version", f"{python.version!r:.80} is not a version")
    table.done()
    return python


def read_roots(table: Fields) -> Mapping[str, RootSummary]:
    roots = {}
    for name in (*ROOTS, BYTECODE):
        entry = table.table(name)
        roots[name] = RootSummary(name, entry.number("files"), entry.number("bytes"), entry.text("digest"))
        if not _HEX64.fullmatch(roots[name].digest):
            raise entry.refuse("digest", "expected 64 lower-case hex digits")
        entry.done()
    table.done()
    return roots
