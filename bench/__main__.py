"""`make bench`: measure, print a table, write bench.json. Speed is a ratio within one run, a median of samples."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import encrypt_bench, run_bench
from bench.figures import Figure

RESULTS = Path("bench.json")
SUITES = {"encrypt": encrypt_bench.run, "run": run_bench.run}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suites", nargs="*", choices=[[], *SUITES], help="which to run; all by default")
    parser.add_argument("--samples", type=int, default=5)
    options = parser.parse_args()
    figures = [figure for name in options.suites or SUITES for figure in SUITES[name](options.samples)]
    show(figures)
    RESULTS.write_text(json.dumps(figures, indent=1) + "\n")


def show(figures: list[Figure]) -> None:
    table = Table("figure", "median", "unit", "goal", "samples", "beside")
    for figure in figures:
        samples = " ".join(f"{value:g}" for value in figure["samples"])
        table.add_row(
            figure["name"], f"{figure['value']:g}", figure["unit"], figure["goal"], samples, figure["peer"]
        )
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
