"""One attempt, what came of it, and the judgement: refused for the right reason, or the demo has failed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lanthorn.demo.failure import DemoFailedError
from lanthorn.demo.parties import Finished
from lanthorn.demo.stage import RUN_FAILED, Stage


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: its exit code and the line that says why."""

    code: int
    line: str


@dataclass(frozen=True)
class Attempt:
    """`expected` is a regular expression for that line.

    A broker tells a client nothing but a code: `reason`, where given, is what its owner must find in the log.
    """

    name: str
    play: Callable[[Stage], Outcome]
    expected: str
    code: int = RUN_FAILED
    reason: str = ""


def of(finished: Finished) -> Outcome:
    """Take a command's end as an outcome."""
    return Outcome(finished.code, finished.error)


def judge(attempt: Attempt, outcome: Outcome) -> None:
    """Raise `DemoFailedError` unless the attempt was refused, and for the reason it had to be refused for."""
    if outcome.code != attempt.code:
        raise DemoFailedError(
            f"{attempt.name}: expected exit code {attempt.code}, got {outcome.code}: {outcome.line}"
        )
    if not re.search(attempt.expected, outcome.line):
        raise DemoFailedError(f"{attempt.name}: refused, but not for its reason: {outcome.line}")


def logged_reason(attempt: Attempt, reasons: Iterable[str]) -> str:
    """Return the newest of the broker's reasons, oldest first, that fits. Raises `DemoFailedError` if none does."""
    fitting = [reason for reason in reasons if re.search(attempt.reason, reason)]
    if not fitting:
        raise DemoFailedError(f"{attempt.name}: the broker's log does not say why")
    return fitting[-1]
