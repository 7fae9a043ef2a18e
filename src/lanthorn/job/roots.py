"""Gather the four roots of a job: its own files, its environment, its interpreter, and the system's
libraries.

What is left out, and why, is told in docs/locks.md; the rules are `is_generated` (what installing makes), the
`stdlib` rules here, and everything in an environment's `bin`, whose links the view makes anew.
"""

from __future__ import annotations

import fnmatch
import functools
import glob
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from lanthorn.errors import ManifestError, UsageError
from lanthorn.job.closure import LibraryFinder, locale_folders
from lanthorn.job.collect import Collector
from lanthorn.job.distributions import Distribution, installed, is_generated
from lanthorn.job.elf import read_elf
from lanthorn.job.interpreter import Interpreter
from lanthorn.job.lock import LOCK_NAME, STORE_NAME
from lanthorn.job.manifest import MANIFEST_NAME, Job
from lanthorn.job.paths import contains
from lanthorn.job.siblings import unlisted

SYSTEM_PREFIXES = ("/", "/usr", "/usr/local")
"""An interpreter installed here shares its folders with the system: its libraries are the system's."""

STDLIB_TOP = frozenset(
    {"site-packages", "dist-packages", "test", "idlelib", "turtledemo", "turtle.py", "tkinter", "ensurepip"}
)
STDLIB_ANYWHERE = frozenset({"__pycache__", "test", "tests"})
STDLIB_PATTERNS = ("config-[0-9]*", "_tkinter*.so", "_test*.so", "_ctypes_test*.so", "xxlimited*.so", "*.a")


@dataclass
class Gathered:
    """The paths of every root, and what the person who locks should know."""

    collector: Collector
    distributions: list[Distribution] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def gather(job: Job, python: Interpreter, locations: Mapping[str, str]) -> Gathered:
    """Return the paths of all four roots. Raises `UsageError` or `ManifestError` for what can't be locked."""
    gathered = Gathered(Collector(locations, claims_of(python, locations)))
    _gather_job(job, gathered)
    _gather_environment(python, gathered)
    _gather_interpreter(python, locations["interpreter"], gathered.collector)
    for path in job.system:
        _add_system(path, gathered.collector)
    return gathered


def claims_of(python: Interpreter, locations: Mapping[str, str]) -> dict[str, str]:
    """Return which folder belongs to which root.

    An interpreter below /usr shares its folders with the system, and one without an environment of its own
    shares its prefix with what is installed there: then only the exact folders are claimed.
    """
    claims = {locations["job"]: "job"}
    base = locations["interpreter"]
    if python.base in SYSTEM_PREFIXES:
        own = (python.executable, *python.stdlib)
        claims.update(dict.fromkeys((moved(python, base, path) for path in own), "interpreter"))
    else:
        claims[base] = "interpreter"
    if python.venv:
        claims[locations["environment"]] = "environment"
    else:
        claims.update(dict.fromkeys((moved(python, base, path) for path in python.site), "environment"))
    return claims


def moved(python: Interpreter, location: str, path: str) -> str:
    """Return where `path` of Python's own installation lies in the copy of it at `location`."""
    return location + path[len(python.base) :] if contains(python.base, path) else path


def _gather_job(job: Job, gathered: Gathered) -> None:
    # (1) the script: the first argument that is a file of the job's folder
    folder = str(job.folder)
    script = next((word for word in job.command[1:] if _is_job_file(folder, word)), None)
    wanted = [] if script is None else [os.path.normpath(os.path.join(folder, script))]
    # (2) what the patterns name, without Lanthorn's own files
    for pattern in job.files:
        hits = glob.glob(os.path.join(glob.escape(folder), pattern), recursive=True, include_hidden=True)
        matches = [path for path in hits if os.path.isfile(path) and not _is_own(folder, path)]
        if not matches:
            raise ManifestError(f"{MANIFEST_NAME}: [job]: files: {pattern!r} matches no file in {folder}")
        wanted += matches
    for path in sorted(set(wanted)):
        _refuse_protected(job, os.path.relpath(path, folder))
        real = gathered.collector.add(path)
        if gathered.collector.owner(real).root != "job":
            raise UsageError(f"{path} lies outside the job's folder, in {real}")
    # (3) a forgotten module would only be missed while the job runs
    missed = unlisted(os.path.dirname(wanted[0]), wanted) if script is not None else []
    gathered.warnings += [
        f"{os.path.relpath(path, folder)} is imported but not in 'files': the program will not find it"
        for path in missed
    ]


def _is_job_file(folder: str, word: str) -> bool:
    path = os.path.normpath(os.path.join(folder, word))
    return contains(folder, path) and os.path.isfile(path)


def _is_own(folder: str, path: str) -> bool:
    top = os.path.relpath(path, folder).split("/")[0]
    return top in (MANIFEST_NAME, LOCK_NAME, STORE_NAME) or "__pycache__" in path.split("/")


def _refuse_protected(job: Job, path: str) -> None:
    for entry in job.protected:
        if contains(entry.path, path) or contains(path, entry.path):
            hint = "trusted files are readable by the operator: take it out of 'files'"
            raise UsageError(f"{path} is both a trusted file and a [[protected]] path", hint=hint)


def _gather_environment(python: Interpreter, gathered: Gathered) -> None:
    sites = [site for site in python.site if contains(python.prefix, site)]
    for site in sites:
        gathered.distributions += installed(site)
        dangling = gathered.collector.walk(site, is_generated)
        gathered.notes += [f"link that leads nowhere left out: {path}" for path in dangling]
    for distribution in gathered.distributions:
        _gather_beside(python.prefix, sites, distribution, gathered)
    for folder in python.beside:
        if not contains(python.prefix, os.path.realpath(folder)):
            gathered.warnings.append(
                f"{folder} is on the path of imports but in no root (editable install?): left out"
            )


def _gather_beside(prefix: str, sites: list[str], distribution: Distribution, gathered: Gathered) -> None:
    """Add files that a distribution put elsewhere in the prefix (share, etc), and note those it lacks."""
    missing = []
    for path in distribution.recorded:
        if is_generated(path, False) or "__pycache__" in path or contains(f"{prefix}/bin", path):
            continue
        in_site = any(contains(site, path) for site in sites)
        if not os.path.lexists(path):
            missing.append(path)
        elif not in_site and contains(prefix, os.path.realpath(path)) and os.path.isfile(path):
            gathered.collector.add(path)
    if missing:
        count = "1 file" if len(missing) == 1 else f"{len(missing)} files"
        title = f"{distribution.name} {distribution.version}"
        gathered.warnings.append(f"{title}: {count} of its RECORD missing: {missing[0]}")


def _gather_interpreter(python: Interpreter, location: str, collector: Collector) -> None:
    collector.add(moved(python, location, python.executable))
    for folder in python.stdlib:
        top = moved(python, location, folder)
        if os.path.isdir(top):
            collector.walk(top, functools.partial(_is_left_out, top))


def _is_left_out(stdlib: str, path: str, is_folder: bool) -> bool:
    name = os.path.basename(path)
    if os.path.dirname(path) == stdlib and name in STDLIB_TOP:
        return True
    if is_folder and name in STDLIB_ANYWHERE:
        return True
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in STDLIB_PATTERNS)


def _add_system(path: str, collector: Collector) -> None:
    if not os.path.exists(path):
        raise ManifestError(f"{MANIFEST_NAME}: [job]: system: missing: {path}")
    if os.path.isdir(path):
        collector.walk(collector.resolve(path), lambda _path, _is_folder: False)
    else:
        collector.add(path)


def gather_libraries(python: Interpreter, gathered: Gathered, elf_files: list[str]) -> None:
    """Add the libraries that `elf_files` (those of environment and interpreter) can load, and the loader."""
    collector = gathered.collector
    facts = read_elf(collector.host("interpreter", python.inside))
    if facts is None:
        raise UsageError(f"{python.executable} is not a 64-bit ELF file")
    finder = LibraryFinder(facts.machine, python.multiarch, collector.resolve)
    own = {os.path.basename(path): path for path in elf_files}
    closure = finder.follow(elf_files, own)
    for path in closure.libraries:
        collector.add(path)
    for folder in locale_folders():
        collector.walk(collector.resolve(folder), lambda _path, _is_folder: False)
    gathered.warnings += [
        f"{name} is found only through ld.so's configuration ({path}): the program will need LD_LIBRARY_PATH"
        for name, path in sorted(closure.configured.items())
    ]
    gathered.notes += [
        f"{name}, needed by {path}, is not installed" for name, path in sorted(closure.missing.items())
    ]
