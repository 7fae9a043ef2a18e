"""The shared libraries a set of ELF files can load, found as ld.so finds them.

Followed: DT_NEEDED through DT_RUNPATH or DT_RPATH with $ORIGIN, then the default folders of the machine, then
the folders of ld.so's configuration; the loader itself; libraries that glibc opens by name; and names of
libraries in the read-only data of the environment and interpreter that exist in the default folders (for
dlopen). Not followed: names made up while the program runs, and glibc-hwcaps variants, which the program will
not find either: list those under `system` in lanthorn.toml.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from lanthorn.job.elf import ElfFacts, read_elf

GLIBC_OPENS = ("libgcc_s.so.1", "libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2")
"""Opened by glibc itself: unwinding when a thread is cancelled, and looking up names."""

LOCALES = ("/usr/lib/locale/C.utf8", "/usr/lib/locale/C.UTF-8")
_TRIPLETS = {62: "x86_64-linux-gnu", 183: "aarch64-linux-gnu"}
_LD_CONFIGURATION = "/etc/ld.so.conf.d"
MAX_CONFIGURATION_BYTES = 65536


@dataclass
class Closure:
    """Paths as ld.so would open them, and names found only outside the default folders, or nowhere."""

    libraries: dict[str, None] = field(default_factory=dict)
    configured: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


class LibraryFinder:
    """Resolves names for one machine. `resolve` gives real paths and records the links on the way."""

    def __init__(self, machine: int, multiarch: str, resolve: Callable[[str], str]) -> None:
        self._machine = machine
        self._resolve = resolve
        self._default = [folder for folder in _default_folders(machine, multiarch) if os.path.isdir(folder)]
        self._configured = [folder for folder in _configured_folders() if folder not in self._default]
        self._facts: dict[str, ElfFacts | None] = {}
        self.result = Closure()

    def follow(self, files: Iterable[str], own_names: Mapping[str, str]) -> Closure:
        """Follow `files`, whose own names (those that need no looking up) are `own_names`, to the end."""
        pending = [(path, True) for path in files]
        pending += [(path, False) for path in self._named(GLIBC_OPENS)]
        seen: set[str] = set()
        while pending:
            path, scan = pending.pop()
            if path in seen or (facts := read_elf(path, scan=scan)) is None or facts.machine != self._machine:
                continue
            seen.add(path)
            for found in self._needs(path, facts, own_names):
                self.result.libraries[found] = None
                pending.append((self._resolve(found), False))
        return self.result

    def _needs(self, path: str, facts: ElfFacts, own_names: Mapping[str, str]) -> list[str]:
        found = [self._find(name, path, facts, own_names) for name in facts.needed]
        loader = [facts.loader] if facts.loader and os.path.exists(facts.loader) else []
        return [path for path in found if path] + loader + self._named(facts.mentioned)

    def _named(self, names: Iterable[str]) -> list[str]:
        """Return those of `names` that the default folders have, noting each for the closure."""
        found = [path for name in names if (path := self._in(self._default, name))]
        self.result.libraries.update(dict.fromkeys(found))
        return found

    def _find(self, name: str, path: str, facts: ElfFacts, own_names: Mapping[str, str]) -> str | None:
        if "/" in name:
            return name if name.startswith("/") and os.path.exists(name) else None
        folders = [_expand(folder, path) for folder in facts.search]
        if found := self._in([*folders, *self._default], name):
            return found
        if name in own_names:
            return None
        if found := self._in(self._configured, name):
            self.result.configured[name] = found
            return found
        self.result.missing.setdefault(name, path)
        return None

    def _in(self, folders: Iterable[str], name: str) -> str | None:
        for folder in folders:
            path = f"{folder}/{name}"
            if os.path.exists(path) and self._fits(path):
                return path
        return None

    def _fits(self, path: str) -> bool:
        if path not in self._facts:
            self._facts[path] = read_elf(os.path.realpath(path))
        facts = self._facts[path]
        return facts is not None and facts.machine == self._machine


def locale_folders() -> list[str]:
    """Return the folders of the C.UTF-8 locale that exist here (glibc 2.35 and later can do without)."""
    return [folder for folder in LOCALES if os.path.isdir(folder)]


def _expand(folder: str, path: str) -> str:
    origin = os.path.dirname(path)
    return os.path.normpath(folder.replace("${ORIGIN}", origin).replace("$ORIGIN", origin))


def _default_folders(machine: int, multiarch: str) -> list[str]:
    triplets = dict.fromkeys(name for name in (multiarch, _TRIPLETS.get(machine, "")) if name)
    named = [f"{top}/{triplet}" for triplet in triplets for top in ("/lib", "/usr/lib")]
    return [*named, "/lib64", "/usr/lib64", "/lib", "/usr/lib"]


def _configured_folders() -> list[str]:
    """Return the folders of ld.so's configuration: under Lanthorn no ld.so.cache leads there."""
    folders: list[str] = []
    if os.path.isdir(_LD_CONFIGURATION):
        for name in sorted(os.listdir(_LD_CONFIGURATION)):
            if name.endswith(".conf"):
                with open(f"{_LD_CONFIGURATION}/{name}", encoding="utf-8", errors="replace") as file:
                    lines = file.read(MAX_CONFIGURATION_BYTES).splitlines()
                folders += [line.strip() for line in lines if line.startswith("/")]
    return [folder for folder in folders if os.path.isdir(folder)]
