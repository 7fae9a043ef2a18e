"""One line of the report."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class State(enum.StrEnum):
    """`MISSING` is what can be mended; what a machine simply does not have is `INFO`."""

    OK = "OK"
    MISSING = "MISSING"
    INFO = "INFO"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked for, what was found, and the commands that mend it."""

    name: str
    state: State
    detail: str
    hints: tuple[str, ...] = ()
    required: bool = False
    """Whether the native target cannot run while this is missing."""

    @property
    def blocks(self) -> bool:
        return self.required and self.state is State.MISSING


def ok(name: str, detail: str) -> Finding:
    return Finding(name, State.OK, detail)


def info(name: str, detail: str, *hints: str) -> Finding:
    return Finding(name, State.INFO, detail, hints)


def missing(name: str, detail: str, *hints: str, required: bool = False) -> Finding:
    return Finding(name, State.MISSING, detail, hints, required)
