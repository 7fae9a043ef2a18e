"""`lanthorn decrypt`: files and folders, with cp's habits."""

from __future__ import annotations

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
from lanthorn.keys import WrapKey, derive_output_key
from lanthorn.protected import decrypt_file, decrypt_folder
from lanthorn.protected.parallel import Progress
from lanthorn.protected.paths import check_embedded_path


@click.command("decrypt")
@key_options
@click.option("--run", "run_id", metavar="RUN_ID", help="Decrypt an output of this run, by the key's owner.")
@click.option(
    "--key-name", "output_name", metavar="NAME", help="With --run: the key's name in the job; default: --key."
)
@click.option("--as", "path", metavar="PATH", help="Refuse a file or folder that carries another path.")
@click.option("--force", is_flag=True, help="Replace what is at the destination.")
@click.argument("sources", nargs=-1, required=True, metavar="SRC...")
@click.argument("destination", metavar="DEST")
def command(
    key_name: str | None,
    key_file: str | None,
    run_id: str | None,
    output_name: str | None,
    path: str | None,
    force: bool,
    sources: tuple[str, ...],
    destination: str,
) -> None:
    """Decrypt SRC to DEST, or each SRC into the folder DEST.

    All is verified before anything appears. A protected folder must hold what its index names, in the
    versions it names, and nothing else. The path a single file carries is compared only with --as. Outputs
    have mode 600.
    """
    copies = plan_copies(sources, destination)
    if path is not None:
        if len(copies) > 1:
            raise UsageError("--as takes one source: each file has a path of its own")
        check_embedded_path(path)
    key = _output_key(load_key(key_name, key_file), run_id, output_name or key_name)
    if output_name is not None and run_id is None:
        raise UsageError("--key-name needs --run: it names the key of a run's outputs")
    total = sum(size_on_disk(copy.source) for copy in copies)
    with clean_termination(), progress_bar("decrypting", total) as progress:
        for copy in copies:
            _decrypt(copy, key, path, force, progress)


def _output_key(key: WrapKey, run_id: str | None, name: str | None) -> WrapKey:
    if run_id is None:
        return key
    if name is None:
        raise UsageError("--run with --key-file needs --key-name: the key's name in the job")
    return derive_output_key(key, run_id, name)


def _decrypt(copy: Copy, key: WrapKey, path: str | None, force: bool, progress: Progress) -> None:
    if copy.is_folder:
        decrypt_folder(copy.source, copy.destination, key, folder=path, force=force, progress=progress)
    else:
        decrypt_file(copy.source, copy.destination, key, path=path, force=force, progress=progress)
