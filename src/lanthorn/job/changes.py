"""Say in words how a job differs from its lock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from lanthorn.errors import ManifestError
from lanthorn.job.bytecode import entries_of
from lanthorn.job.lock import BYTECODE, Lock, LockedPath
from lanthorn.job.locking import Draft
from lanthorn.job.paths import ROOTS
from lanthorn.job.store import LockStore
from lanthorn.job.trusted import Group, RootList, TrustedFile, decode_root

SHOWN = 5
"""So many files are named one by one; the rest are counted."""


class Change(NamedTuple):
    """One difference: the part of the lock it is in, and the whole of the words."""

    part: str
    text: str


def changes(locked: Lock, store: LockStore, here: Draft) -> list[Change]:
    """Return every difference between a lock with its store and this machine; none when they agree."""
    if locked.digest == here.lock.digest:
        return []
    found = [*_settings(locked, here.lock), *_protected(locked, here.lock)]
    for root in ROOTS:
        if locked.roots[root] != here.lock.roots[root]:
            found += [Change(root, f"{root}: {text}") for text in _root(locked, store, here, root)]
    if locked.roots[BYTECODE] != here.lock.roots[BYTECODE]:
        found += [Change(BYTECODE, text) for text in _bytecode(locked, store, here)]
    return found or [Change("job", f"digest {here.lock.digest.hex()} here, {locked.digest.hex()} locked")]


def _settings(locked: Lock, here: Lock) -> Iterator[Change]:
    pairs = [
        ("name", here.name, locked.name),
        ("program", ":".join(here.program), ":".join(locked.program)),
        ("arguments", list(here.arguments), list(locked.arguments)),
        ("stdin", here.stdin, locked.stdin),
        ("stdio", here.stdio, locked.stdio),
        ("log_key", here.log_key, locked.log_key),
    ]
    for name, new, old in pairs:
        if new != old:
            yield Change(name, f"{name}: {new!r} here, {old!r} locked")
    if here.python != locked.python:
        yield Change("python", f"python: {_python_words(here)} here, {_python_words(locked)} locked")
    yield from _mapping("variables", "environment variable", here.environment, locked.environment)
    yield from _mapping("keys", "broker of key", here.keys, locked.keys)
    pins = [{name: " ".join(b.spki) for name, b in lock.brokers.items()} for lock in (here, locked)]
    yield from _mapping("brokers", "broker", *pins)


def _python_words(lock: Lock) -> str:
    kind = "" if lock.python.venv else " without an environment of its own"
    return f"{lock.python.implementation} {lock.python.version} ({lock.python.executable}){kind}"


def _mapping(part: str, what: str, here: Mapping[str, str], locked: Mapping[str, str]) -> Iterator[Change]:
    for name in sorted({*here, *locked}):
        new, old = here.get(name), locked.get(name)
        if new == old:
            continue
        words = (
            f"{new!r} here, not locked"
            if old is None
            else f"absent here, {old!r} locked"
            if new is None
            else f"{new!r} here, {old!r} locked"
        )
        yield Change(part, f"{what} {name}: {words}")


def _protected(locked: Lock, here: Lock) -> Iterator[Change]:
    new, old = ({entry.path: entry for entry in lock.protected} for lock in (here, locked))
    for path in sorted({*new, *old}):
        if path not in old:
            yield Change("protected", f"protected {path}: here, not locked")
        elif path not in new:
            yield Change("protected", f"protected {path}: locked, not here")
        elif new[path] != old[path]:
            yield Change("protected", f"protected {path}: {_entry_words(new[path], old[path])}")


def _entry_words(new: LockedPath, old: LockedPath) -> str:
    said = [
        f"{name} {getattr(new, name)} here, {getattr(old, name)} locked"
        for name in ("key", "access", "kind", "version", "floating")
        if getattr(new, name) != getattr(old, name)
    ]
    return "; ".join(said)


def _root(locked: Lock, store: LockStore, here: Draft, root: str) -> Iterator[str]:
    try:
        old = decode_root(root, store.list_of(locked.roots[root]))
    except ManifestError as error:
        digests = f"digest {here.lock.roots[root].digest} here, {locked.roots[root].digest} locked"
        yield f"{digests}; no file can be named: {error.message}"
        return
    yield from _groups(here.lists[root], old)


def _groups(here: RootList, locked: RootList) -> Iterator[str]:
    new, old = ({(group.name, group.version): group for group in side.groups} for side in (here, locked))
    versions_new, versions_old = _versions(new), _versions(old)
    for name in sorted({*versions_new, *versions_old}):
        fresh, gone = versions_new.get(name, []), versions_old.get(name, [])
        if fresh == gone or {*fresh, *gone} == {""}:
            for version in fresh or gone:
                nothing = Group(name, version, (), ())
                yield from _files(new.get((name, version), nothing), old.get((name, version), nothing))
        else:
            yield f"{name}: {' and '.join(fresh) or 'none'} here, {' and '.join(gone) or 'none'} locked"


def _versions(groups: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    versions: dict[str, list[str]] = {}
    for name, version in sorted(groups):
        versions.setdefault(name, []).append(version)
    return versions


def _files(here: Group, locked: Group) -> Iterator[str]:
    new, old = ({file.path: file for file in group.files} for group in (here, locked))
    differing = [path for path in old if path in new and new[path] != old[path]]
    yield from _said(here, "differs", "differ", [_file_words(new[path], old[path]) for path in differing])
    yield from _said(here, "is missing", "are missing", [path for path in old if path not in new])
    yield from _said(here, "is not locked", "are not locked", [path for path in new if path not in old])
    links_new, links_old = ({link.path: link for link in group.links} for group in (here, locked))
    changed = [path for path in links_old if path in links_new and links_new[path] != links_old[path]]
    yield from _said(here, "differs", "differ", changed, "link")
    yield from _said(here, "is missing", "are missing", [p for p in links_old if p not in links_new], "link")
    yield from _said(
        here, "is not locked", "are not locked", [p for p in links_new if p not in links_old], "link"
    )


def _said(group: Group, one: str, many: str, names: list[str], what: str = "file") -> Iterator[str]:
    if names:
        shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        verb = f"1 {what} {one}" if len(names) == 1 else f"{len(names)} {what}s {many}"
        yield f"{group.title}: {verb}: {shown}"


def _file_words(new: TrustedFile, old: TrustedFile) -> str:
    if new.sha256 == old.sha256:
        return f"{new.path} ({'executable' if new.executable else 'not executable'} here)"
    return f"{new.path} (sha256 {new.sha256}, locked {old.sha256})"


def _bytecode(locked: Lock, store: LockStore, here: Draft) -> Iterator[str]:
    sources = ("environment", "interpreter")
    if any(locked.roots[root] != here.lock.roots[root] for root in sources):
        yield "bytecode differs, as its sources do"
        return
    try:
        old = entries_of(store.list_of(locked.roots[BYTECODE]))
    except ManifestError as error:
        yield f"bytecode differs although its sources are the same: {error.message}"
        return
    new = entries_of(here.pack.list_bytes)
    differing = [path for path in {**old, **new} if old.get(path) != new.get(path)]
    yield f"bytecode differs although its sources are the same: {len(differing)} entries"
