"""The command line: one small file per command, imported only when that command is used.

Data goes to stdout, everything else to stderr as `lanthorn: error: …` and `lanthorn: hint: …`.
"""

from __future__ import annotations

import importlib
import logging
import sys
from typing import Any

import click

from lanthorn import __version__
from lanthorn.errors import Error

COMMANDS = {
    "key": "make, import and export wrap keys",
    "encrypt": "encrypt files and folders",
    "decrypt": "decrypt files and folders",
    "inspect": "show what a protected file says of itself",
    "lock": "pin a job: command, environment, code and inputs",
    "broker": "hold keys and release them to attested jobs",
    "run": "run a locked job",
    "simulator": "the simulated platform, for development",
    "doctor": "what this machine has, and how to mend what it lacks",
    "demo": "the whole promise on a real model, then a hostile operator",
}


class _LazyGroup(click.Group):
    """A group whose commands live in `lanthorn.cli.<name>_cmd` as `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"lanthorn.cli.{cmd_name}_cmd")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lanthorn")
@click.option("-v", "--verbose", count=True, help="Say more; twice for debugging.")
def root(verbose: int) -> None:
    """Run an unmodified PyTorch program on a machine you don't trust."""
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG)
    logging.basicConfig(level=level, stream=sys.stderr, format="lanthorn: %(levelname)s: %(message)s")
    logging.addLevelName(logging.WARNING, "warning")
    logging.addLevelName(logging.INFO, "info")


def report(error: Error) -> int:
    """Print an error as one line, its hint as another, and return its exit code."""
    click.echo(f"lanthorn: error: {error.message}", err=True)
    if error.hint:
        click.echo(f"lanthorn: hint: {error.hint}", err=True)
    return error.exit_code


def main(arguments: list[str] | None = None) -> Any:  # noqa: ANN401 - click's own type
    """Run the command line and exit with the code of `lanthorn.errors`."""
    try:
        code = root.main(args=arguments, prog_name="lanthorn", standalone_mode=False)
    except Error as error:
        sys.exit(report(error))
    except click.exceptions.Abort:
        click.echo("lanthorn: error: interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        click.echo(f"lanthorn: error: {error.format_message()}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)
