"""Attempts with the platform: another job in the same boot, old, debuggable, or of another vendor."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from lanthorn.demo.hostile.attempt import Attempt, Outcome, of
from lanthorn.demo.stage import Stage


def attempts() -> list[Attempt]:
    broker = r"^broker home refused the attestation: evidence-refused$"
    return [
        Attempt(
            "a second, different job in the same boot",
            _second_job,
            r"^this platform already runs another lock than [0-9a-f]{16}… since its boot$",
        ),
        Attempt(
            "an OutOfDate platform",
            _with("--tcb", "OutOfDate"),
            broker,
            reason="expected UpToDate, got OutOfDate",
        ),
        Attempt("a debug platform", _with("--debug"), broker, reason="debug mismatch: expected no, got yes"),
        Attempt(
            "a quote under another root",
            _other_vendor,
            broker,
            reason="pck chain ends in a key that is no trust anchor",
        ),
    ]


def _second_job(stage: Stage) -> Outcome:
    with stage.copy_of_machine() as machine:
        return of(machine.run(job=machine.second_job))


def _with(*options: str) -> Callable[[Stage], Outcome]:
    def play(stage: Stage) -> Outcome:
        with stage.copy_of_machine() as machine:
            machine.set_platform(*options)
            return of(machine.run())

    return play


def _other_vendor(stage: Stage) -> Outcome:
    with stage.copy_of_machine() as machine:
        shutil.rmtree(machine.simulator)
        stage.operator.must("simulator", "init", machine.simulator)
        return of(machine.run())
