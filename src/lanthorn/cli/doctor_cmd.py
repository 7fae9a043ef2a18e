"""`lanthorn doctor`: what this machine has, and the command that mends what is missing."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import click

from lanthorn.errors import RuntimeSetupError

if TYPE_CHECKING:
    from lanthorn.doctor import Diagnosis


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(as_json: bool) -> None:
    """Say what this machine has, and how to mend what is missing.

    Changes nothing. The last line says which target `lanthorn run` would pick and whether it protects. Ends
    with 0 if a job can run here, else with 50.
    """
    from lanthorn.doctor import diagnose
    from lanthorn.doctor.machine import this_machine

    diagnosis = diagnose(this_machine())
    click.echo(_json(diagnosis) if as_json else _table(diagnosis))
    if not diagnosis.ready:
        reason = ", ".join(diagnosis.blockers) or "a TEE whose evidence this version cannot make"
        raise RuntimeSetupError(f"no job can run here: {reason}")


def _json(diagnosis: Diagnosis) -> str:
    members = {
        "findings": [dataclasses.asdict(finding) for finding in diagnosis.findings],
        "tees": diagnosis.tees,
        "ready": diagnosis.ready,
        "protected": False,
        "verdict": diagnosis.verdict,
    }
    return json.dumps(members, indent=2)


def _table(diagnosis: Diagnosis) -> str:
    width = max(len(finding.name) for finding in diagnosis.findings)
    lines = []
    for finding in diagnosis.findings:
        lines.append(f"{finding.state:<8} {finding.name:<{width}}  {finding.detail}")
        lines += [f"{'':8} {'':{width}}  -> {hint}" for hint in finding.hints]
    return "\n".join([*lines, diagnosis.verdict])
