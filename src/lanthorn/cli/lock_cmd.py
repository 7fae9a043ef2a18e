"""`lanthorn lock`: pin a job, or check that this machine still has what was pinned."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import click

from lanthorn.errors import ManifestError
from lanthorn.job.changes import Change, changes
from lanthorn.job.lock import LOCK_NAME, STORE_NAME, load_lock
from lanthorn.job.locking import UNOWNED, Draft, draft_lock
from lanthorn.job.manifest import Job, load_job
from lanthorn.job.store import LockStore

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.argument("jobdir", type=_FOLDER, default=".")
@click.option("--python", type=click.Path(path_type=Path), help="The environment's interpreter.")
@click.option("--job", "job_files", type=_FOLDER, help="Where the job's files lie, if not in JOBDIR.")
@click.option("--interpreter", type=_FOLDER, help="Where a copy of the interpreter's installation lies.")
@click.option(
    "--check", is_flag=True, help="Write nothing; say what differs from the lock, exit 20 if anything does."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    jobdir: Path,
    python: Path | None,
    job_files: Path | None,
    interpreter: Path | None,
    check: bool,
    as_json: bool,
) -> None:
    """Pin the job in JOBDIR: command, environment, code and inputs, into lanthorn.lock and lanthorn.lock.d.

    Nothing is encrypted and no key is needed. Owners repeat it on their own machine with --check to see that
    a lock says what they think it says.
    """
    folder = Path(os.path.realpath(jobdir))
    lock_path, store = folder / LOCK_NAME, LockStore(folder / STORE_NAME)
    locked = load_lock(lock_path) if check else None
    job = _job(folder, job_files)
    draft = draft_lock(job, _cache(), python=_absolute(python), interpreter=interpreter)
    for text in draft.warnings:
        click.echo(f"lanthorn: warning: {text}", err=True)
    if locked is None:
        draft.write(lock_path, store)
        _print(draft, as_json, [])
        return
    found = changes(locked, store, draft)
    _print(draft, as_json, found, checked=True)
    if found:
        parts = ", ".join(dict.fromkeys(change.part for change in found))
        raise ManifestError(f"{lock_path} does not match this machine: {parts}")


def _job(folder: Path, job_files: Path | None) -> Job:
    job = load_job(folder)
    return dataclasses.replace(job, folder=Path(os.path.realpath(job_files))) if job_files else job


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else path.absolute()


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lanthorn"


def _print(draft: Draft, as_json: bool, found: list[Change], *, checked: bool = False) -> None:
    if as_json:
        click.echo(json.dumps(_report(draft, found, checked), indent=2))
    elif found:
        for change in found:
            click.echo(change.text)
    else:
        _print_roots(draft)


def _print_roots(draft: Draft) -> None:
    for root in draft.lock.roots.values():
        click.echo(f"{root.name:<12}{root.files:>7} files {root.bytes / 1e6:>9.1f} MB  {root.digest}")
    for name, listed in draft.lists.items():
        for group in listed.groups:
            if group.name == UNOWNED and group.files:
                click.echo(f"{name}: {len(group.files)} files belong to no distribution")
    click.echo(f"lock {draft.lock.digest.hex()}")


def _report(draft: Draft, found: list[Change], checked: bool) -> dict[str, object]:
    return {
        "lock": draft.lock.digest.hex(),
        "matches": not found if checked else None,
        "roots": {root.name: dataclasses.asdict(root) for root in draft.lock.roots.values()},
        "distributions": {
            name: [{"name": g.name, "version": g.version, "files": len(g.files)} for g in listed.groups]
            for name, listed in draft.lists.items()
        },
        "changes": [change._asdict() for change in found],
        "warnings": list(draft.warnings),
        "notes": list(draft.notes),
    }
