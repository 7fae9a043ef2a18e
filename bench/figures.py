"""One measured figure: the median of paired samples, with its goal and what it is measured beside."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TypedDict


class Figure(TypedDict):
    """A row of the table and of bench.json."""

    name: str
    value: float
    unit: str
    goal: str
    peer: str
    samples: list[float]


def figure(name: str, samples: Sequence[float], unit: str, goal: str, peer: str) -> Figure:
    """Return the median of `samples` with what to hold it against; `goal` starts with <= or >=."""
    rounded = [round(sample, 3) for sample in samples]
    value = round(statistics.median(samples), 3)
    return {"name": name, "value": value, "unit": unit, "goal": goal, "peer": peer, "samples": rounded}
