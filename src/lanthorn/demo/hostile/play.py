"""Play every attempt, a few at a time, tell them in order, and read the reasons in the broker's log."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from lanthorn.demo.honest import log_rows
from lanthorn.demo.hostile import code, files, platforms, wire
from lanthorn.demo.hostile.attempt import Attempt, Outcome, judge, logged_reason
from lanthorn.demo.stage import Stage

_AT_ONCE = 3


def all_attempts() -> list[Attempt]:
    return [*files.attempts(), *code.attempts(), *platforms.attempts(), *wire.attempts()]


def play_all(stage: Stage, attempts: Sequence[Attempt]) -> None:
    """Play each on its own copy of the operator's machine. Raises `DemoFailedError` at the first that succeeds."""
    played: list[tuple[Attempt, Outcome]] = []
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        outcomes = pool.map(lambda attempt: attempt.play(stage), attempts)
        for attempt, outcome in zip(attempts, outcomes, strict=True):
            judge(attempt, outcome)
            stage.story.refused(attempt.name, outcome.line)
            played.append((attempt, outcome))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    _tell_reasons(stage, played)


def _tell_reasons(stage: Stage, played: Sequence[tuple[Attempt, Outcome]]) -> None:
    """Show what the broker kept to itself; only rows after the honest run count."""
    stage.story.owner("lanthorn broker log: why the broker said no, which it tells its owner alone")
    reasons = [
        str(policy.get("refused", ""))
        for row in log_rows(stage)[stage.rows_logged :]
        if row["event"] == "refused"
        for policy in row["detail"].get("policies", [])
    ]
    for attempt, outcome in played:
        if attempt.reason:
            stage.story.seen(f"{attempt.name}: {logged_reason(attempt, outcome, reasons)}")
