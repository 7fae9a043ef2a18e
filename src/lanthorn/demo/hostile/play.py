"""Play every attempt, two at a time, and tell them in order."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from lanthorn.demo.hostile import code, files, platforms, wire
from lanthorn.demo.hostile.attempt import Attempt, play
from lanthorn.demo.stage import Stage

_AT_ONCE = 2


def all_attempts() -> list[Attempt]:
    return [*files.attempts(), *code.attempts(), *platforms.attempts(), *wire.attempts()]


def play_all(stage: Stage, attempts: Sequence[Attempt]) -> None:
    """Play each on its own copy of the operator's machine. Raises `DemoFailedError` at the first that succeeds."""
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        outcomes = pool.map(lambda attempt: play(attempt, stage), attempts)
        for attempt, outcome in zip(attempts, outcomes, strict=True):
            stage.story.refused(attempt.name, outcome.line, outcome.reason)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
