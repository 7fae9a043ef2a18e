"""Read `lanthorn.lock`: what a job is, to the byte.

The file is TOML. Its `[job]` table is the job: the digest of its canonical JSON names the job everywhere.
Outside that digest stand `[locations]` (where the roots lie on a machine: the operator's business),
`[brokers.<name>] url` (a broker is known by its public key, not its address) and `[reference.<target>]`
(measurements, checked by whoever uses them). This module is on the path of every run: it imports no
validation library.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lanthorn.canonical import canonical_json, labelled_sha256
from lanthorn.errors import Error, ManifestError
from lanthorn.job.fields import NAME, Fields
from lanthorn.job.paths import ROOTS, RootPath, contains, normalise
from lanthorn.storage import read_limited

LOCK_NAME = "lanthorn.lock"
STORE_NAME = "lanthorn.lock.d"
LOCK_VERSION = 1
LOCK_LABEL = "lanthorn-job-v1"
BYTECODE = "bytecode"
MAX_LOCK_BYTES = 16 << 20

_HEX64 = re.compile(r"[0-9a-f]{64}")
_PIN = re.compile(r"sha256:[0-9a-f]{64}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
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


@dataclass(frozen=True)
class Lock:
    """A checked lock. `digest` and `canonical` are what evidence and brokers speak of."""

    name: str
    program: RootPath
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    stdin: str
    stdio: str
    network: tuple[str, ...]
    log_key: str | None
    protected: tuple[LockedPath, ...]
    keys: Mapping[str, str]
    brokers: Mapping[str, LockedBroker]
    python: LockedPython
    roots: Mapping[str, RootSummary]
    canonical: bytes = field(repr=False)
    digest: bytes = field(repr=False)
    locations: Mapping[str, Path] = field(default_factory=dict)
    reference: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def access_of(self, key: str) -> frozenset[str]:
        """Return what the job does with a key: "read", "write", both, or nothing.

        The key of the run's own log is one that the job writes with.
        """
        uses = {entry.access for entry in self.protected if entry.key == key}
        return frozenset(uses | ({"write"} if key == self.log_key else set()))


def load_lock(path: Path) -> Lock:
    """Read a lock file; relative locations in it are relative to its folder.

    Checks types, names, limits and that no key is unknown. Does not look at any root or protected file.
    Raises `ManifestError` in one line for anything else, `StorageError` when it cannot be read.
    """
    return parse_lock(read_limited(path, MAX_LOCK_BYTES), Path(_absolute(path.parent)))


def parse_lock(data: bytes, folder: Path) -> Lock:
    """Parse the bytes of a lock file that lies in `folder`."""
    import tomllib

    try:
        values = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ManifestError(f"{LOCK_NAME} is not TOML: {reason}") from error
    return lock_from_values(values, folder)


def lock_from_values(values: dict[str, Any], folder: Path) -> Lock:
    """Check the parsed tables of a lock file."""
    top = Fields(values, LOCK_NAME, ManifestError)
    if top.number("lanthorn_lock") != LOCK_VERSION:
        raise top.refuse(
            "lanthorn_lock", f"version {values['lanthorn_lock']} is not supported, only {LOCK_VERSION}"
        )
    job = top.table("job")
    urls = _urls(top.table("brokers", optional=True))
    locations = _locations(top.table("locations", optional=True), folder)
    reference = _reference(top.table("reference", optional=True))
    top.done()
    return _lock(values["job"], job, urls, locations, reference)


def lock_from_canonical(data: bytes) -> Lock:
    """Return the lock whose canonical `[job]` bytes these are, as a broker stores them: no locations, no
    addresses.

    Raises `ManifestError` unless the bytes are exactly the canonical encoding of a valid `[job]`.
    """
    import json

    if len(data) > MAX_LOCK_BYTES:
        raise ManifestError(f"canonical job: larger than the limit of {MAX_LOCK_BYTES} bytes")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ManifestError("canonical job: not JSON") from error
    lock = _lock(value, Fields(value, "canonical job", ManifestError), {}, {}, {})
    if lock.canonical != data:
        raise ManifestError("canonical job: not in canonical encoding")
    return lock


def _lock(
    value: dict[str, Any],
    job: Fields,
    urls: Mapping[str, str],
    locations: Mapping[str, Path],
    reference: Mapping[str, Mapping[str, str]],
) -> Lock:
    if job.number("version") != LOCK_VERSION:
        raise job.refuse("version", f"{value['version']} is not supported, only {LOCK_VERSION}")
    brokers = _brokers(job.table("brokers"), urls)
    canonical = _canonical(value)
    lock = Lock(
        name=job.name("name"),
        program=_program(job.table("program")),
        arguments=job.texts("arguments"),
        environment=_environment(job.table("environment")),
        stdin=job.choice("stdin", ("empty",)),
        stdio=job.choice("stdio", ("protected", "operator")),
        network=_network(job),
        log_key=job.name("log_key") if job.has("log_key") else None,
        protected=tuple(_protected(entry) for entry in job.tables("protected")),
        keys=_keys(job.table("keys"), brokers),
        brokers=brokers,
        python=_python(job.table("python")),
        roots=_roots(job.table("roots")),
        canonical=canonical,
        digest=labelled_sha256(LOCK_LABEL, canonical),
        locations=locations,
        reference=reference,
    )
    job.done()
    _check_whole(lock, job)
    return lock


def _canonical(value: dict[str, Any]) -> bytes:
    try:
        return canonical_json(value)
    except Error as error:
        raise ManifestError(f"{LOCK_NAME}: [job] {error.message}") from error


def _check_whole(lock: Lock, job: Fields) -> None:
    """Refuse what each part allows but the whole does not."""
    used = {entry.key for entry in lock.protected} | ({lock.log_key} if lock.log_key else set())
    if used != set(lock.keys):
        raise job.refuse("keys", f"expected exactly the keys in use, {sorted(used)}, got {sorted(lock.keys)}")
    if set(lock.keys.values()) != set(lock.brokers):
        raise job.refuse("brokers", "expected exactly the brokers that hold a key")
    if lock.stdio == "protected" and lock.log_key is None:
        raise job.refuse("log_key", "is missing while stdio is 'protected'")
    paths = [entry.path for entry in lock.protected]
    if paths != sorted(paths, key=str.encode):
        raise job.refuse("protected", "entries are not sorted by path")
    for at, path in enumerate(paths):
        for other in paths[at + 1 :]:
            if contains(path, other):
                raise job.refuse("protected", f"{path!r} and {other!r} overlap")


def _program(table: Fields) -> RootPath:
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


def _environment(table: Fields) -> Mapping[str, str]:
    variables = table.mapping()
    for name in variables:
        if not _VARIABLE.fullmatch(name):
            raise table.refuse(name, "is not a name of an environment variable")
    table.done()
    return variables


def _network(job: Fields) -> tuple[str, ...]:
    network = job.texts("network")
    if network:
        raise job.refuse("network", "must be empty: this version gives a job no network")
    return network


def _protected(table: Fields) -> LockedPath:
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


def _keys(table: Fields, brokers: Mapping[str, LockedBroker]) -> Mapping[str, str]:
    keys = table.mapping()
    for name, broker in keys.items():
        if not NAME.fullmatch(name):
            raise table.refuse(name, "is not a name of a key")
        if broker not in brokers:
            raise table.refuse(name, f"no broker {broker!r:.80}")
    table.done()
    return keys


def _brokers(table: Fields, urls: Mapping[str, str]) -> Mapping[str, LockedBroker]:
    brokers = {}
    for name in table.names():
        pins = table.texts(name)
        if not NAME.fullmatch(name):
            raise table.refuse(name, "is not a name of a broker")
        if not 1 <= len(pins) <= 2 or len(set(pins)) != len(pins) or not all(map(_PIN.fullmatch, pins)):
            raise table.refuse(name, "expected one or two pins 'sha256:<64 lower-case hex digits>'")
        brokers[name] = LockedBroker(name, pins, urls.get(name))
    return brokers


def _urls(table: Fields) -> Mapping[str, str]:
    urls = {}
    for name in table.names():
        entry = table.table(name)
        urls[name] = entry.text("url")
        if not urls[name].startswith("https://"):
            raise entry.refuse("url", f"expected https://…, got {urls[name]!r:.200}")
        entry.done()
    return urls


def _python(table: Fields) -> LockedPython:
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


def _roots(table: Fields) -> Mapping[str, RootSummary]:
    roots = {}
    for name in (*ROOTS, BYTECODE):
        entry = table.table(name)
        roots[name] = RootSummary(name, entry.number("files"), entry.number("bytes"), entry.text("digest"))
        if not _HEX64.fullmatch(roots[name].digest):
            raise entry.refuse("digest", "expected 64 lower-case hex digits")
        entry.done()
    table.done()
    return roots


def _locations(table: Fields, folder: Path) -> Mapping[str, Path]:
    locations = {"job": folder, "system": Path("/")}
    for name in table.names():
        if name not in ("environment", "interpreter"):
            raise table.refuse(name, "is not a root with a location: expected 'environment' or 'interpreter'")
        locations[name] = Path(_absolute(folder / table.text(name)))
    return locations


def _absolute(path: Path) -> str:
    import os

    return os.path.abspath(path)


def _reference(table: Fields) -> Mapping[str, Mapping[str, str]]:
    return {target: table.table(target).mapping() for target in table.names()}
