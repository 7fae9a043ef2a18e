"""One attempt, what came of it, and the judgement: refused for the right reason, or the demo has failed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lanthorn.demo.failure import DemoFailedError
from lanthorn.demo.parties import Finished
from lanthorn.demo.stage import Stage
from lanthorn.errors import RUN_FAILED


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: its exit code and the line that says why.

    `shown` is a value of the attempt's own, if any, that tells its reason in the broker's log from another's.
    """

    code: int
    line: str
    shown: str = ""


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


def logged_reason(attempt: Attempt, outcome: Outcome, reasons: Iterable[str]) -> str:
    """Return the broker's reason that fits the attempt. Raises `DemoFailedError` if none does."""
    for reason in reasons:
        if re.search(attempt.reason, reason) and outcome.shown in reason:
            return reason
    raise DemoFailedError(f"{attempt.name}: the broker's log does not say why")
