"""Habits that every command keeps."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from lanthorn.cli import COMMANDS, root

REPOSITORY = Path(__file__).resolve().parents[3]


def commands(
    group: click.Group = root, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command_as_a_process(name: str) -> None:
    done = subprocess.run([sys.executable, "-m", "lanthorn", name, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith(f"Usage: lanthorn {name} ")
    assert done.stderr == ""


def test_every_command_has_a_help_text_and_options_that_say_what_they_are() -> None:
    silent = []
    for path, command in commands():
        options = [each for each in command.params if isinstance(each, click.Option)]
        silent += [" ".join(path)] if not command.help else []
        silent += [f"{' '.join(path)} {each.opts[0]}" for each in options if not each.help]
    assert silent == []


def insecure_options() -> dict[str, click.Option]:
    return {
        f"{' '.join(path)} {option.opts[0]}": option
        for path, command in commands()
        for option in command.params
        if isinstance(option, click.Option) and any("insecure" in name for name in option.opts)
    }


def test_insecure_options_are_long_and_have_no_variable() -> None:
    options = insecure_options()
    assert {"broker init --insecure-allow-simulated", "run --insecure-simulated"} <= set(options)
    # Inside a TEE the environment is the untrusted host's.
    assert root.context_settings.get("auto_envvar_prefix") is None
    assert {name for name, option in options.items() if option.envvar is not None} == set()
    context = click.Context(root)
    on = {name for name, option in options.items() if not option.is_flag or option.get_default(context)}
    assert on == set()
    names = [name for option in options.values() for name in (*option.opts, *option.secondary_opts)]
    assert [name for name in names if not name.startswith("--insecure-")] == []


def test_no_option_takes_a_secret_as_its_value() -> None:
    secret = re.compile(r"(secret|password|passphrase|raw|hex)")
    named = [
        f"{' '.join(path)} {option.opts[0]}"
        for path, command in commands()
        for option in command.params
        if isinstance(option, click.Option) and secret.search(option.opts[0])
    ]
    assert named == []


HELP = re.compile(
    r"^```\n\$ lanthorn(?P<arguments>[a-z ]*) --help\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


def test_help_in_the_readme_is_what_is_printed() -> None:
    quoted = list(HELP.finditer((REPOSITORY / "README.md").read_text(encoding="utf-8")))
    assert {match["arguments"].strip() for match in quoted} >= {"", "run"}
    for match in quoted:
        arguments = [*match["arguments"].split(), "--help"]
        shown = CliRunner(env=os.environ | {"COLUMNS": "80"}).invoke(root, arguments, prog_name="lanthorn")
        assert shown.exit_code == 0 and match["text"] == shown.output
