"""Pin a job: from `lanthorn.toml` and the disk to the contents of `lanthorn.lock` and `lanthorn.lock.d`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanthorn.errors import UsageError
from lanthorn.job import bytecode, tree
from lanthorn.job.distributions import Distribution, owners
from lanthorn.job.dpkg import packages_of
from lanthorn.job.elf import MAGIC as ELF_MAGIC
from lanthorn.job.hashing import hash_files
from lanthorn.job.inputs import lock_entry
from lanthorn.job.interpreter import Interpreter, probe
from lanthorn.job.lock import BYTECODE, LOCK_VERSION, Lock, LockedPath, lock_from_values
from lanthorn.job.manifest import Job
from lanthorn.job.paths import ROOTS, RootPath, contains
from lanthorn.job.roots import Gathered, gather, gather_libraries
from lanthorn.job.store import LockStore
from lanthorn.job.trusted import Group, RootList, TrustedFile, TrustedLink, digest_of
from lanthorn.job.view import interpreter_names
from lanthorn.storage import write_atomically

UNOWNED = "unowned"
DEFAULT_PYTHON = ".venv/bin/python"
_Hashes = Mapping[str, tuple[tree.Digests, bool]]


@dataclass(frozen=True)
class Draft:
    """A lock that was made but not written. `values` is the TOML; lists and pack go to the store."""

    lock: Lock
    values: dict[str, Any]
    lists: Mapping[str, RootList]
    pack: bytecode.BytecodePack
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    def write(self, lock_path: Path, store: LockStore) -> None:
        """Write the store first and the lock last, so that a lock never names what is not there."""
        import tomli_w

        for root in self.lists.values():
            data = root.encode()
            store.write(digest_of(data), ".list", data)
            store.write(digest_of(data), ".trees", root.leaves())
        digest = self.lock.roots[BYTECODE].digest
        store.write(digest, ".pycs", self.pack.data)
        store.write(digest, ".trees", self.pack.leaves)
        store.write(digest, ".list", self.pack.list_bytes)
        write_atomically(lock_path, tomli_w.dumps(self.values).encode())
        store.remove_stale({summary.digest for summary in self.lock.roots.values()})


def draft_lock(
    job: Job, cache: Path, *, python: Path | None = None, interpreter: Path | None = None
) -> Draft:
    """Make the lock of `job` from what is on this machine now.

    `python` overrides the manifest's interpreter; `interpreter` is where a copy of its installation lies.
    Everything is read and hashed; the interpreter is run to ask where its parts are and to compile. Whether
    an installed package is what its authors published is not checked, only that it is what its RECORD says (a
    warning if not). Raises `UsageError`, `ManifestError` or `StorageError`.
    """
    asked = probe(job.folder / (python or job.python or DEFAULT_PYTHON))
    locations = _locations(job, asked, interpreter)
    program, arguments = _command(job, asked)
    protected = [lock_entry(job.folder, entry) for entry in job.protected]
    gathered = gather(job, asked, locations)
    hashes = _hash_new(gathered, {})
    gather_libraries(asked, gathered, _elf_files(gathered, hashes))
    hashes = _hash_new(gathered, hashes)
    lists = _lists(gathered, asked, hashes)
    pack = bytecode.make_pack(asked, _sources(gathered, hashes), cache)
    table = _job_table(job, program, arguments, protected)
    table["python"] = _python_table(asked)
    table["roots"] = _roots_table(lists, pack)
    values = _values(job, table, locations)
    return Draft(
        lock=lock_from_values(values, job.folder),
        values=values,
        lists=lists,
        pack=pack,
        notes=tuple(gathered.notes),
        warnings=(*gathered.warnings, *_record_differences(gathered.distributions, hashes)),
    )


def _locations(job: Job, python: Interpreter, interpreter: Path | None) -> dict[str, str]:
    base = os.path.realpath(interpreter) if interpreter else python.base
    return {
        "job": str(job.folder),
        "environment": python.prefix if python.venv else base,
        "interpreter": base,
        "system": "/",
    }


def _command(job: Job, python: Interpreter) -> tuple[RootPath, tuple[str, ...]]:
    first = job.command[0]
    if first not in {*interpreter_names(python.version), job.python}:
        hint = 'write it as command = ["python", "script.py"]'
        raise UsageError(f"command starts with {first!r}, but only a Python program can be locked", hint=hint)
    inside = RootPath("interpreter", python.inside)
    return (RootPath("environment", "bin/python") if python.venv else inside), job.command[1:]


def _hash_new(gathered: Gathered, known: _Hashes) -> _Hashes:
    collector = gathered.collector
    paths = {collector.host(root, path) for root, files in collector.files.items() for path in files}
    return {**known, **hash_files(sorted(paths - known.keys()))}


def _elf_files(gathered: Gathered, hashes: _Hashes) -> list[str]:
    collector = gathered.collector
    paths = (collector.host(root, path) for root, files in collector.files.items() for path in sorted(files))
    return [path for path in paths if hashes[path][0].head.startswith(ELF_MAGIC)]


def _sources(gathered: Gathered, hashes: _Hashes) -> list[bytecode.Source]:
    collector = gathered.collector
    return [
        bytecode.Source(root, path, hashes[host][0].sha256, host)
        for root in ("environment", "interpreter")
        for path in collector.files[root]
        if path.endswith(".py") and (host := collector.host(root, path))
    ]


def _lists(gathered: Gathered, python: Interpreter, hashes: _Hashes) -> dict[str, RootList]:
    titles = _Titles(gathered, python)
    return {root: _root_list(root, gathered, titles, hashes) for root in ROOTS}


class _Titles:
    """Names the group of each file."""

    def __init__(self, gathered: Gathered, python: Interpreter) -> None:
        collector = gathered.collector
        self._owners = owners(gathered.distributions)
        self._python = ("python", python.version)
        loose = [
            collector.host(root, path)
            for root in ("environment", "system")
            for path in (*collector.files[root], *collector.links[root])
        ]
        # A folder, such as the link /lib, is listed by every package that puts something there.
        self._packages = packages_of(
            [path for path in loose if path not in self._owners and not os.path.isdir(path)]
        )

    def of(self, root: str, host: str) -> tuple[str, str]:
        if owner := self._owners.get(host):
            return owner.name, owner.version
        if package := self._packages.get(host):
            return package
        return {"job": ("job", ""), "interpreter": self._python}.get(root, (UNOWNED, ""))


def _root_list(root: str, gathered: Gathered, titles: _Titles, hashes: _Hashes) -> RootList:
    collector = gathered.collector
    files: dict[tuple[str, str], list[TrustedFile]] = {}
    links: dict[tuple[str, str], list[TrustedLink]] = {}
    for path in collector.files[root]:
        host = collector.host(root, path)
        files.setdefault(titles.of(root, host), []).append(_trusted(path, *hashes[host]))
    for path, target in collector.links[root].items():
        title = titles.of(root, collector.host(root, path))
        links.setdefault(title, []).append(TrustedLink(path, target))
    groups = [
        Group(*title, tuple(files.get(title, ())), tuple(links.get(title, ())))
        for title in {**files, **links}
    ]
    return RootList.build(root, groups)


def _trusted(path: str, digests: tree.Digests, executable: bool) -> TrustedFile:
    root = tree.root(digests.leaves).hex()
    return TrustedFile(path, digests.size, executable, digests.sha256, root, digests.leaves)


def _record_differences(distributions: list[Distribution], hashes: _Hashes) -> list[str]:
    """Name each distribution whose installed files are not those of the wheel that it says it came from."""
    said = []
    for distribution in distributions:
        differing = [
            path
            for path, recorded in distribution.recorded.items()
            if recorded and path in hashes and hashes[path][0].sha256 != recorded
        ]
        if differing:
            count = "1 file differs" if len(differing) == 1 else f"{len(differing)} files differ"
            said.append(
                f"{distribution.name} {distribution.version}: {count} from its RECORD: {differing[0]}"
            )
    return said


def _job_table(
    job: Job, program: RootPath, arguments: tuple[str, ...], protected: list[LockedPath]
) -> dict[str, Any]:
    table: dict[str, Any] = {
        "version": LOCK_VERSION,
        "name": job.name,
        "program": {"root": program.root, "path": program.path},
        "arguments": list(arguments),
        "stdin": job.stdin,
        "stdio": job.stdio,
        "network": list(job.network),
    }
    if job.log_key:
        table["log_key"] = job.log_key
    table["environment"] = dict(job.environment)
    table["keys"] = dict(job.keys)
    used = sorted(set(job.keys.values()))
    table["brokers"] = {name: list(job.brokers[name].spki) for name in used}
    table["protected"] = [_protected_table(entry) for entry in protected]
    return table


def _protected_table(entry: LockedPath) -> dict[str, Any]:
    table: dict[str, Any] = {
        "path": entry.path,
        "key": entry.key,
        "access": entry.access,
        "kind": entry.kind,
    }
    if entry.version:
        table["version"] = entry.version
    if entry.floating:
        table["floating"] = True
    return table


def _python_table(python: Interpreter) -> dict[str, Any]:
    return {
        "implementation": python.implementation,
        "version": python.version,
        "cache_tag": python.cache_tag,
        "executable": python.inside,
        "venv": python.venv,
    }


def _roots_table(lists: Mapping[str, RootList], pack: bytecode.BytecodePack) -> dict[str, Any]:
    table: dict[str, Any] = {
        name: {"files": root.count, "bytes": root.total_bytes, "digest": digest_of(root.encode())}
        for name, root in lists.items()
    }
    table[BYTECODE] = {"files": pack.count, "bytes": len(pack.data), "digest": digest_of(pack.list_bytes)}
    return table


def _values(job: Job, table: dict[str, Any], locations: Mapping[str, str]) -> dict[str, Any]:
    return {
        "lanthorn_lock": LOCK_VERSION,
        "job": table,
        "brokers": {name: {"url": job.brokers[name].url} for name in table["brokers"]},
        "locations": {
            root: _from_folder(locations[root], locations["job"]) for root in ("environment", "interpreter")
        },
    }


def _from_folder(path: str, folder: str) -> str:
    """Say a place inside the job's folder relative to it, so that the folder can be moved as a whole."""
    return os.path.relpath(path, folder) if contains(folder, path) else path
