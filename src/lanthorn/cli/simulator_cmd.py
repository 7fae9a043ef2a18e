"""`lanthorn simulator`: a TEE in software, for development. It protects nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lanthorn import home
from lanthorn.attestation.simulator.settings import CHOICES

if TYPE_CHECKING:
    from lanthorn.attestation.simulator.platform import PlatformState, SimulatedPlatform

MAX_EXPORT_SIZE = 1024 * 1024


@click.group(short_help="the simulated platform, for development")
def command() -> None:
    """Make and change a simulated platform.

    It gives evidence with the structure of real TDX and SGX quotes under a root of its own, and protects
    nothing. Brokers refuse it unless a policy rule says insecure_allow_simulated = true.
    """


_folder = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Where the platform is kept.  [default: your lanthorn home]",
)


def _platform(folder: Path | None) -> SimulatedPlatform:
    from lanthorn.attestation.simulator.platform import SimulatedPlatform

    return SimulatedPlatform(folder or home.simulator_folder())


@command.command()
@click.argument("directory", required=False, type=click.Path(path_type=Path, file_okay=False))
@_folder
def init(directory: Path | None, folder: Path | None) -> None:
    """Make a vendor and a platform, in DIRECTORY or your lanthorn home."""
    from lanthorn.attestation.simulator.platform import SimulatedPlatform

    if directory and folder:
        raise click.UsageError("give DIRECTORY or --folder, not both")
    platform = SimulatedPlatform.create(directory or folder or home.simulator_folder(), now=_now())
    click.echo(f"made a simulated platform in {platform.folder}: it protects nothing", err=True)


@command.command()
@_folder
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(folder: Path | None, as_json: bool) -> None:
    """Show the platform's settings and registers."""
    platform = _platform(folder)
    _print(platform, platform.state(), as_json)


@command.command("set")
@_folder
@click.option("--tcb", type=click.Choice(CHOICES["tcb"]), help="Status of the platform's TCB level.")
@click.option("--qe", type=click.Choice(CHOICES["qe"]), help="Status of the quoting enclave.")
@click.option("--module", type=click.Choice(CHOICES["module"]), help="Status of the TDX module.")
@click.option(
    "--revoke", "revoked", type=click.Choice(CHOICES["revoked"]), help="Revoke a certificate, or none."
)
@click.option(
    "--collateral", type=click.Choice(CHOICES["collateral"]), help="Publish current or expired collateral."
)
@click.option("--debug/--no-debug", default=None, help="Whether TEEs run in debug mode.")
@click.option("--sept-ve-disable/--no-sept-ve-disable", default=None, help="The TD attribute of that name.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def set_(folder: Path | None, as_json: bool, **options: Any) -> None:  # noqa: ANN401 - one option per setting
    """Change the platform; what is not named stays. Registers stay too: see reboot."""
    changes = {name: value for name, value in options.items() if value is not None}
    if not changes:
        raise click.UsageError("nothing to set")
    platform = _platform(folder)
    _print(platform, platform.configure(now=_now(), **changes), as_json)


@command.command()
@_folder
def reboot(folder: Path | None) -> None:
    """Restart the platform: its registers are empty again, so it can run another lock."""
    state = _platform(folder).reboot()
    click.echo(f"rebooted: boot {state.boot_count}", err=True)


@command.command()
@click.argument("destination", type=click.Path(path_type=Path, file_okay=False))
@_folder
@click.option("--force", is_flag=True, help="Replace existing files.")
def export(destination: Path, folder: Path | None, force: bool) -> None:
    """Copy what the vendor publishes (root and collateral, no key) to a folder."""
    from lanthorn.attestation.simulator.platform import COLLATERAL_FILES
    from lanthorn.storage import read_limited, storage_errors, write_atomically

    platform = _platform(folder)
    platform.refresh(now=_now())
    with storage_errors("make", destination):
        destination.mkdir(parents=True, exist_ok=True)
    sources = [platform.root_path, *map(platform.collateral_path, COLLATERAL_FILES)]
    for source in sources:
        write_atomically(destination / source.name, read_limited(source, MAX_EXPORT_SIZE), force=force)


def _now() -> datetime:
    return datetime.now(UTC)


def _print(platform: SimulatedPlatform, state: PlatformState, as_json: bool) -> None:
    import dataclasses

    members = {
        "folder": str(platform.folder),
        "root_file": str(platform.root_path),
        "collateral_file": str(platform.collateral_path()),
        **dataclasses.asdict(state.settings),
        "boot_count": state.boot_count,
        "rtmr3": state.rtmr3.hex(),
        "bound": any(state.rtmr3),
        "collateral_expires": f"{state.collateral_expires:%Y-%m-%dT%H:%M:%SZ}",
    }
    if as_json:
        click.echo(json.dumps(members))
        return
    for name, value in members.items():
        click.echo(f"{name.replace('_', ' '):20} {value}")
