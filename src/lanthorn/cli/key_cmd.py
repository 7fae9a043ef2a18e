"""`lanthorn key`: make, import, export and list wrap keys."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lanthorn.home import keyring_folder
from lanthorn.keys import Keyring


def _keyring() -> Keyring:
    return Keyring(keyring_folder())


@click.group("key")
def command() -> None:
    """Make, import and export wrap keys: 16 bytes, each in a file that only you can read."""


@command.command("new")
@click.argument("name")
def new(name: str) -> None:
    """Make a new key."""
    key = _keyring().create(name)
    click.echo(f"made key {name} (id {key.key_id})", err=True)


@command.command("import")
@click.argument("name")
@click.argument("file")
def import_(name: str, file: str) -> None:
    """Take over a key from FILE: 16 raw bytes, mode 600; - is standard input."""
    key = _keyring().import_(name, file)
    click.echo(f"imported key {name} (id {key.key_id})", err=True)


@command.command("export")
@click.argument("name")
@click.argument("file")
def export(name: str, file: str) -> None:
    """Write the 16 raw bytes of a key to the new FILE, mode 600."""
    key = _keyring().export(name, Path(file))
    click.echo(f"exported key {name} (id {key.key_id}) to {file}", err=True)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def list_(as_json: bool) -> None:
    """List keys by name and id."""
    keyring = _keyring()
    rows = [{"name": name, "id": keyring.load(name).key_id} for name in keyring.names()]
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        click.echo(f"{row['id']}  {row['name']}")
