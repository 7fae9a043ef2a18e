"""One attempt, what came of it, and the judgement: refused for the right reason, or the demo has failed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from lanthorn.demo.failure import DemoFailedError
from lanthorn.demo.honest import log_rows
from lanthorn.demo.parties import Finished
from lanthorn.demo.stage import RUN_FAILED, Stage


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: exit code, the error line, and the owner's log where the refusal was the broker's."""

    code: int
    line: str
    reason: str = ""


@dataclass(frozen=True)
class Attempt:
    """`expected` is a regular expression for the error line; `reason`, where given, one for the owner's log."""

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
    if attempt.reason and not re.search(attempt.reason, outcome.reason):
        raise DemoFailedError(
            f"{attempt.name}: the broker's log does not say why: {outcome.reason or 'nothing'}"
        )


def play(attempt: Attempt, stage: Stage) -> Outcome:
    """Play one attempt and judge it. Raises `DemoFailedError`."""
    outcome = attempt.play(stage)
    if attempt.reason:
        outcome = Outcome(outcome.code, outcome.line, _logged_reason(stage, attempt.reason))
    judge(attempt, outcome)
    return outcome


def _logged_reason(stage: Stage, pattern: str) -> str:
    """Return the newest reason of the broker's log that fits. Others may be refused at the same time."""
    reasons = [
        str(policy.get("refused", ""))
        for row in log_rows(stage)
        if row["event"] == "refused"
        for policy in row["detail"].get("policies", [])
    ]
    fitting = [reason for reason in reasons if re.search(pattern, reason)]
    return (fitting or reasons or [""])[-1]
