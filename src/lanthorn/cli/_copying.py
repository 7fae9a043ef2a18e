"""What `encrypt` and `decrypt` share: the key, cp's habits, the progress bar.

Not here: what happens to the bytes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from lanthorn.errors import StorageError, UsageError
from lanthorn.home import keyring_folder
from lanthorn.keys import Keyring, WrapKey, load_key_file
from lanthorn.protected import INDEX_NAME

PROGRESS_MINIMUM: Final = 64 << 20
_Command = TypeVar("_Command", bound=Callable[..., Any])


def key_options(command: _Command) -> _Command:
    """Add `--key` and `--key-file`; `load_key` takes their values."""
    command = click.option(
        "--key-file", metavar="PATH", help="A file of 16 raw bytes, mode 600; - is standard input."
    )(command)
    return click.option("--key", "key_name", metavar="NAME", help="A key of the keyring.")(command)


def load_key(name: str | None, path: str | None) -> WrapKey:
    """Return the one key that the options name. Raises `UsageError` for none or two."""
    if (name is None) == (path is None):
        raise UsageError(
            "expected exactly one of --key and --key-file", hint="make a key: lanthorn key new NAME"
        )
    return Keyring(keyring_folder()).load(name) if name is not None else load_key_file(str(path))


@dataclass(frozen=True, slots=True)
class Copy:
    """One source and where it goes."""

    source: Path
    destination: Path
    is_folder: bool


def plan_copies(sources: tuple[str, ...], target: str) -> list[Copy]:
    """Say what goes where, as cp would: into an existing folder under its own name, else to that very path.

    Raises `UsageError` where cp refuses or would lose something, `StorageError` for a source that is missing.
    """
    # An encrypted folder is one thing, as a file is: nothing goes into it, --force replaces it whole.
    into = os.path.isdir(target) and not os.path.lexists(os.path.join(target, INDEX_NAME))
    if not into and (len(sources) > 1 or (target.endswith("/") and not os.path.isdir(sources[0]))):
        raise UsageError(f"not a folder: {target}")
    copies = [_plan(Path(source), Path(target), into) for source in sources]
    seen: set[Path] = set()
    for copy in copies:
        if copy.destination in seen:
            raise UsageError(f"two sources for one destination: {copy.destination}")
        seen.add(copy.destination)
        _check_places(copy)
    return copies


def _plan(source: Path, target: Path, into: bool) -> Copy:
    if not os.path.exists(source):
        raise StorageError(f"cannot read {source}: no such file or directory")
    name = Path(os.path.abspath(source)).name
    destination = target / name if into else target
    if not os.path.isdir(destination.parent):
        raise StorageError(f"cannot write {destination}: no such folder: {destination.parent}")
    return Copy(source, destination, os.path.isdir(source))


def _check_places(copy: Copy) -> None:
    source = Path(os.path.realpath(copy.source))
    destination = Path(os.path.realpath(copy.destination.parent)) / copy.destination.name
    if source in (destination, Path(os.path.realpath(copy.destination))):
        raise UsageError(f"source and destination are the same: {copy.source}")
    if source in destination.parents or destination in source.parents:
        raise UsageError(f"one lies inside the other: {copy.source} and {copy.destination}")
    if os.path.isdir(copy.destination) and not os.path.islink(copy.destination) and not copy.is_folder:
        raise UsageError(f"cannot replace a folder with a file: {copy.destination}")
    for folder in destination.parents:
        if os.path.lexists(folder / INDEX_NAME):
            raise UsageError(
                f"destination is inside a protected folder: {folder}",
                hint="its index names all it holds; encrypt the whole folder again",
            )


@contextlib.contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Give a function to call with bytes done; it draws from 64 MiB on, and only on a terminal."""
    if total < PROGRESS_MINIMUM or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    # No refresh thread: workers are forked while the bar is there.
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as bar:
        task = bar.add_task(what, total=total)

        def advance(done: int) -> None:
            bar.advance(task, done)
            bar.refresh()

        yield advance


@contextlib.contextmanager
def clean_termination() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind the stack, so that temporary files go, and end with code 128 + signal."""

    def end(signum: int, frame: types.FrameType | None) -> None:
        raise SystemExit(128 + signum)

    # What is ignored stays ignored: nohup relies on it.
    wanted = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]
    before = {signum: signal.signal(signum, end) for signum in wanted}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def size_on_disk(path: Path) -> int:
    """Return the bytes below `path`, for a progress bar: approximate, never an error."""
    sizes = 0
    if not os.path.isdir(path):
        with contextlib.suppress(OSError):
            sizes = os.path.getsize(path)
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                sizes += os.lstat(os.path.join(folder, name)).st_size
    return sizes
