"""Read `lanthorn.toml`: what a job asks for, before anything is pinned."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from lanthorn.errors import UsageError
from lanthorn.job.fields import NAME, Fields
from lanthorn.job.locked import PIN, VARIABLE
from lanthorn.job.paths import contains, normalise
from lanthorn.storage import read_limited

MANIFEST_NAME = "lanthorn.toml"
MAX_MANIFEST_BYTES = 1 << 20
MAX_PINS = 2
"""A broker has its current certificate key and, while changing it, the next one."""


@dataclass(frozen=True)
class ProtectedPath:
    """One encrypted file or folder of the job; `kind` None means: look on the disk."""

    path: str
    key: str
    access: str
    kind: str | None
    floating: bool


@dataclass(frozen=True)
class BrokerEntry:
    """A broker by its address and the SHA-256 pins of its public key, "sha256:<64 hex>"."""

    name: str
    url: str
    spki: tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """A checked `lanthorn.toml`. `keys` gives each key in use its broker's name."""

    folder: Path
    name: str
    command: tuple[str, ...]
    python: str | None
    files: tuple[str, ...]
    system: tuple[str, ...]
    stdin: str
    stdio: str
    network: tuple[str, ...]
    log_key: str | None
    environment: Mapping[str, str]
    protected: tuple[ProtectedPath, ...]
    keys: Mapping[str, str]
    brokers: Mapping[str, BrokerEntry]


_JOB_KEYS = ("name", "command", "python", "files", "system", "stdin", "stdio", "network", "log_key")


def load_job(folder: Path) -> Job:
    """Read `lanthorn.toml` in `folder`.

    Raises `UsageError` naming the file and key for anything unknown, missing, of a wrong type or
    contradictory, `StorageError` when it cannot be read.
    """
    path = folder / MANIFEST_NAME
    return parse_job(read_limited(path, MAX_MANIFEST_BYTES), folder)


def parse_job(data: bytes, folder: Path) -> Job:
    """Parse the bytes of a `lanthorn.toml` that lies in `folder`. Looks at nothing on the disk."""
    try:
        values = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{MANIFEST_NAME} is not TOML: {_one_line(error)}") from error
    top = Fields(values, MANIFEST_NAME)
    top.only("job", "environment", "protected", "keys", "brokers")
    section = top.table("job")
    section.only(*_JOB_KEYS)
    protected = _protected(top)
    brokers = _brokers(top.table("brokers", optional=True))
    stdio = section.choice("stdio", ("protected", "operator"), "protected")
    log_key = _log_key(section, stdio, protected)
    used = sorted({entry.key for entry in protected} | ({log_key} if log_key else set()))
    job = Job(
        folder=folder,
        name=section.name("name"),
        command=_command(section),
        python=section.text("python") if section.has("python") else None,
        files=_globs(section),
        system=_system(section),
        stdin=section.choice("stdin", ("empty",), "empty"),
        stdio=stdio,
        network=_network(section),
        log_key=log_key,
        environment=_environment(top.table("environment", optional=True)),
        protected=protected,
        keys=_keys(top.table("keys", optional=True), used, brokers),
        brokers=brokers,
    )
    section.done()
    top.done()
    return job


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _command(section: Fields) -> tuple[str, ...]:
    command = section.texts("command")
    if not command:
        raise section.refuse("command", "is empty")
    return command


def _globs(section: Fields) -> tuple[str, ...]:
    return tuple(_relative(section, "files", pattern) for pattern in section.texts("files", ()))


def _system(section: Fields) -> tuple[str, ...]:
    paths = section.texts("system", ())
    for path in paths:
        if not path.startswith("/"):
            raise section.refuse("system", f"{path!r} is not an absolute path")
    return paths


def _network(section: Fields) -> tuple[str, ...]:
    network = section.texts("network", ())
    if network:
        raise section.refuse("network", "must be empty: a job has no network")
    return network


def _environment(table: Fields) -> Mapping[str, str]:
    variables = table.mapping()
    for name in variables:
        if not VARIABLE.fullmatch(name):
            raise table.refuse(name, "is not a name of an environment variable")
    return dict(sorted(variables.items()))


def _relative(table: Fields, key: str, path: str) -> str:
    try:
        return normalise(path)
    except ValueError as error:
        raise table.refuse(key, f"{path!r}: {error}") from error


def _protected(top: Fields) -> tuple[ProtectedPath, ...]:
    entries = [_protected_entry(table) for table in top.tables("protected")]
    entries.sort(key=lambda entry: entry.path.encode())
    for at, entry in enumerate(entries):
        for other in entries[at + 1 :]:
            if contains(entry.path, other.path):
                raise top.refuse("[[protected]]", f"{entry.path!r} and {other.path!r} overlap")
    return tuple(entries)


def _protected_entry(table: Fields) -> ProtectedPath:
    table.only("path", "key", "access", "kind", "floating")
    access = table.choice("access", ("read", "write"))
    kind = table.choice("kind", ("file", "folder")) if table.has("kind") else None
    entry = ProtectedPath(
        path=_relative(table, "path", table.text("path")),
        key=table.name("key"),
        access=access,
        kind=kind or ("file" if access == "write" else None),
        floating=table.flag("floating", False),
    )
    if entry.floating and access == "write":
        raise table.refuse("floating", "only means something for access = 'read'")
    table.done()
    return entry


def _log_key(section: Fields, stdio: str, protected: tuple[ProtectedPath, ...]) -> str | None:
    if section.has("log_key"):
        return section.name("log_key")
    written = [entry.key for entry in protected if entry.access == "write"]
    if written:
        return written[0]
    if stdio == "protected":
        raise section.refuse(
            "log_key", "is missing: no [[protected]] entry is written whose key could be used"
        )
    return None


def _brokers(table: Fields) -> Mapping[str, BrokerEntry]:
    return {name: _broker(name, table) for name in sorted(table.names())}


def _broker(name: str, table: Fields) -> BrokerEntry:
    entry = table.table(name)
    if not NAME.fullmatch(name):
        raise table.refuse(name, "is not a name of a broker")
    url, pins = entry.text("url"), entry.texts("spki")
    check_pins(entry, pins)
    if not _is_https(url):
        raise entry.refuse("url", f"expected https://host:port, got {url!r:.200}")
    entry.done()
    return BrokerEntry(name, url.rstrip("/"), pins)


def _is_https(url: str) -> bool:
    try:
        parts = urlsplit(url)
        named = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return named and not (parts.username or parts.password or parts.query or parts.fragment)


def check_pins(table: Fields, pins: tuple[str, ...]) -> None:
    """Refuse a list of public key pins that is empty, too long or misspelt."""
    if not 1 <= len(pins) <= MAX_PINS or len(set(pins)) != len(pins):
        raise table.refuse("spki", f"expected one or two different pins, got {len(pins)}")
    for pin in pins:
        if not PIN.fullmatch(pin):
            raise table.refuse("spki", f"expected 'sha256:' and 64 lower-case hex digits, got {pin!r:.100}")


def _keys(table: Fields, used: list[str], brokers: Mapping[str, BrokerEntry]) -> Mapping[str, str]:
    named = {name: _broker_of(table, name, brokers) for name in table.names()}
    for name in named:
        if name not in used:
            raise table.refuse(name, "is used by no [[protected]] entry and is not log_key")
    return {name: named.get(name) or _only_broker(table, name, brokers) for name in used}


def _broker_of(table: Fields, name: str, brokers: Mapping[str, BrokerEntry]) -> str | None:
    entry = table.table(name)
    broker = entry.name("broker") if entry.has("broker") else None
    entry.done()
    if broker is not None and broker not in brokers:
        raise entry.refuse("broker", f"no [brokers.{broker}]")
    return broker


def _only_broker(table: Fields, name: str, brokers: Mapping[str, BrokerEntry]) -> str:
    if len(brokers) != 1:
        raise table.refuse(name, f"needs broker = '…': there are {len(brokers)} [brokers]")
    return next(iter(brokers))
