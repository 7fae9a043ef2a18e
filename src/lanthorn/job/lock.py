"""Read `lanthorn.lock`: what a job is, to the byte.

The file is TOML. Its `[job]` table is the job: the digest of its canonical JSON names the job everywhere.
Outside that digest stand `[locations]` (where the roots lie on a machine: the operator's business),
`[brokers.<name>] url` (a broker is known by its public key, not its address) and `[reference.<target>]`
(measurements, checked by whoever uses them). This module is on the path of every run: it imports no
validation library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lanthorn.canonical import canonical_json, labelled_sha256
from lanthorn.errors import Error, ManifestError
from lanthorn.job.fields import Fields
from lanthorn.job.locked import (
    BYTECODE,
    LockedBroker,
    LockedPath,
    LockedPython,
    RootSummary,
    read_brokers,
    read_environment,
    read_keys,
    read_network,
    read_program,
    read_protected,
    read_python,
    read_roots,
)
from lanthorn.job.paths import RootPath, contains
from lanthorn.storage import read_limited

__all__ = [
    "BYTECODE",
    "LOCK_LABEL",
    "LOCK_NAME",
    "LOCK_VERSION",
    "MAX_LOCK_BYTES",
    "STORE_NAME",
    "Lock",
    "LockedBroker",
    "LockedPath",
    "LockedPython",
    "RootSummary",
    "load_lock",
    "lock_from_canonical",
    "lock_from_values",
    "parse_lock",
]

LOCK_NAME = "lanthorn.lock"
STORE_NAME = "lanthorn.lock.d"
LOCK_VERSION = 1
LOCK_LABEL = "lanthorn-job-v1"
MAX_LOCK_BYTES = 16 << 20


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
    brokers = read_brokers(job.table("brokers"), urls)
    canonical = _canonical(value)
    lock = Lock(
        name=job.name("name"),
        program=read_program(job.table("program")),
        arguments=job.texts("arguments"),
        environment=read_environment(job.table("environment")),
        stdin=job.choice("stdin", ("empty",)),
        stdio=job.choice("stdio", ("protected", "operator")),
        network=read_network(job),
        log_key=job.name("log_key") if job.has("log_key") else None,
        protected=tuple(read_protected(entry) for entry in job.tables("protected")),
        keys=read_keys(job.table("keys"), brokers),
        brokers=brokers,
        python=read_python(job.table("python")),
        roots=read_roots(job.table("roots")),
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


def _urls(table: Fields) -> Mapping[str, str]:
    urls = {}
    for name in table.names():
        entry = table.table(name)
        urls[name] = entry.text("url")
        if not urls[name].startswith("https://"):
            raise entry.refuse("url", f"expected https://…, got {urls[name]!r:.200}")
        entry.done()
    return urls


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
