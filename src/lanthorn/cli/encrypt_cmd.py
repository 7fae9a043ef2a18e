"""`lanthorn encrypt`: files and folders, with cp's habits."""

from __future__ import annotations

import json

import click

from lanthorn.cli._copying import (
    Copy,
    clean_termination,
    key_options,
    load_key,
    plan_copies,
    progress_bar,
    size_on_disk,
)
from lanthorn.errors import UsageError
from lanthorn.keys import WrapKey
from lanthorn.protected import embedded_path, encrypt_file, encrypt_folder
from lanthorn.protected.parallel import Progress
from lanthorn.protected.paths import check_embedded_path


@click.command("encrypt")
@key_options
@click.option(
    "--as", "path", metavar="PATH", help="The path to embed; default: relative to the job's folder."
)
@click.option("--force", is_flag=True, help="Replace what is at the destination.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print destination, path and version id of each as JSON."
)
@click.argument("sources", nargs=-1, required=True, metavar="SRC...")
@click.argument("destination", metavar="DEST")
def command(
    key_name: str | None,
    key_file: str | None,
    path: str | None,
    force: bool,
    as_json: bool,
    sources: tuple[str, ...],
    destination: str,
) -> None:
    """Encrypt SRC to DEST, or each SRC into the folder DEST.

    A folder becomes a protected folder: its files, and an index of names, sizes and version ids. Modes and
    times are not kept. The version id of each is what a lock pins.
    """
    copies = plan_copies(sources, destination)
    if path is not None and len(copies) > 1:
        raise UsageError("--as takes one source: each file has a path of its own")
    paths = [check_embedded_path(path) if path is not None else embedded_path(c.destination) for c in copies]
    key = load_key(key_name, key_file)
    done = []
    total = sum(size_on_disk(copy.source) for copy in copies)
    with clean_termination(), progress_bar("encrypting", total) as progress:
        for copy, inside in zip(copies, paths, strict=True):
            version = _encrypt(copy, key, inside, force, progress)
            done.append({"destination": str(copy.destination), "path": inside, "version": version})
    if as_json:
        click.echo(json.dumps(done))


def _encrypt(copy: Copy, key: WrapKey, inside: str, force: bool, progress: Progress) -> str:
    if copy.is_folder:
        return encrypt_folder(
            copy.source, copy.destination, key, inside, force=force, progress=progress
        ).version
    return encrypt_file(copy.source, copy.destination, key, inside, force=force, progress=progress)
