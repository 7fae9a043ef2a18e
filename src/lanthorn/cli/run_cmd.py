"""`lanthorn run`: run a locked job on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lanthorn.errors import RUN_FAILED, BrokerUnreachableError, Error, UsageError
from lanthorn.home import simulator_folder

if TYPE_CHECKING:
    from lanthorn.attestation.attester.base import Attester


@click.command("run")
@click.argument("job", type=click.Path(path_type=Path), default=Path())
@click.option(
    "--environment", type=click.Path(path_type=Path), help="Where the program's environment lies here."
)
@click.option("--interpreter", type=click.Path(path_type=Path), help="Where its Python lies here.")
@click.option(
    "--broker", "brokers", multiple=True, metavar="NAME=URL", help="Reach a broker at another address."
)
@click.option("--simulator", type=click.Path(path_type=Path), help="Folder of the simulated platform.")
@click.option("--insecure-simulated", is_flag=True, help="Run simulated even though this machine has a TEE.")
@click.option("--json", "as_json", is_flag=True, help="Print how the run ended as JSON on stdout.")
def command(
    job: Path,
    environment: Path | None,
    interpreter: Path | None,
    brokers: tuple[str, ...],
    simulator: Path | None,
    insecure_simulated: bool,
    as_json: bool,
) -> int:
    """Run the locked job in the folder JOB and end with its program's exit code.

    125 is every failure of lanthorn's own, 75 one that is worth a retry (a broker that does not answer).
    """
    places = {"environment": environment, "interpreter": interpreter}
    locations = {name: _absolute(place) for name, place in places.items() if place}
    try:
        return _run(
            job, locations, _urls(brokers), simulator or simulator_folder(), insecure_simulated, as_json
        )
    except Error as error:
        from lanthorn.cli import report

        report(error)
        return error.exit_code if isinstance(error, BrokerUnreachableError) else RUN_FAILED


def _run(
    job: Path,
    locations: dict[str, Path],
    urls: dict[str, str],
    simulator: Path,
    insecure: bool,
    as_json: bool,
) -> int:
    from lanthorn.targets.native.run import RunOptions, run

    result = run(RunOptions(_absolute(job), locations, urls), lambda: _attester(simulator, insecure))
    if as_json:
        import json

        fields = {"exit_code": result.exit_code, "run_id": result.run_id, "outputs": dict(result.outputs)}
        click.echo(json.dumps({**fields, "refused_writes": result.refused}))
    for path in result.refused:
        click.echo(f"lanthorn: refused: the program wanted to write {path}", err=True)
        click.echo('lanthorn: hint: name it in lanthorn.toml: [[protected]] with access = "write"', err=True)
    click.echo(f"lanthorn: run {result.run_id or '(no result key)'} ended with {result.exit_code}", err=True)
    return result.exit_code


def _attester(simulator: Path, insecure: bool) -> Attester:
    from lanthorn.targets.base import NOT_PROTECTED, choose_attester

    attester = choose_attester(simulator, insecure_simulated=insecure)
    if attester.simulated:
        click.echo(f"lanthorn: {NOT_PROTECTED}", err=True)
    return attester


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))


def _urls(brokers: tuple[str, ...]) -> dict[str, str]:
    urls = {}
    for item in brokers:
        name, separator, url = item.partition("=")
        if not separator:
            raise UsageError(f"--broker takes NAME=URL, got {item!r}")
        urls[name] = url
    return urls
