"""Attempts on the encrypted files: changed, swapped, shortened, replaced by other genuine ones, withheld."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from lanthorn.demo.copies import flip_bit, link_or_copy, replace
from lanthorn.demo.hostile.attempt import Attempt, Outcome, of
from lanthorn.demo.stage import Stage


def attempts() -> list[Attempt]:
    other_version = r"^model\.pth is another version: expected [0-9a-f]{64}, got [0-9a-f]{64}$"
    return [
        Attempt(
            "a flipped bit in the model", _with_job(_flip), r"^model\.pth was changed: .*does not fit its tag"
        ),
        Attempt("model and photo swapped", _with_job(_swap), other_version),
        Attempt(
            "the model cut short", _with_job(_cut), r"^model\.pth is cut short: expected \d+ bytes, got \d+$"
        ),
        Attempt("another genuine file under the model's name", _given("other.png"), other_version),
        Attempt("last month's genuine model", _given("old-model.pth"), other_version),
        Attempt(
            "a file withheld",
            _with_job(_withhold),
            r"^photo\.png is named by the lock but withheld by the host",
        ),
    ]


def _with_job(change: Callable[[Path], None]) -> Callable[[Stage], Outcome]:
    """Make an attempt that changes something in the job's folder and runs it."""

    def play(stage: Stage) -> Outcome:
        with stage.copy_of_machine() as machine:
            change(machine.job)
            return of(machine.run())

    return play


def _given(name: str) -> Callable[[Stage], Outcome]:
    """Make an attempt that puts another file of the owner's, encrypted for the model's path, in its place."""

    def play(stage: Stage) -> Outcome:
        with stage.copy_of_machine() as machine:
            model = machine.job / "model.pth"
            model.unlink()
            link_or_copy(str(stage.other_files / name), str(model))
            return of(machine.run())

    return play


def _flip(job: Path) -> None:
    # In the middle: far from what is checked before the program starts.
    flip_bit(job / "model.pth", (job / "model.pth").stat().st_size // 2)


def _swap(job: Path) -> None:
    os.rename(job / "model.pth", job / "aside")
    os.rename(job / "photo.png", job / "model.pth")
    os.rename(job / "aside", job / "photo.png")


def _cut(job: Path) -> None:
    # A whole number of nodes, so that what is left still looks like a protected file.
    replace(job / "model.pth", (job / "model.pth").read_bytes()[:-4096])


def _withhold(job: Path) -> None:
    (job / "photo.png").unlink()
