"""`lanthorn broker`: hold keys, release them to attested jobs, keep the log."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lanthorn.errors import UsageError
from lanthorn.home import broker_folder, keyring_folder, simulator_folder

if TYPE_CHECKING:
    from lanthorn.broker.home import Address, BrokerHome, Settings
    from lanthorn.job.lock import Lock

logger = logging.getLogger("lanthorn")

DEFAULT_ADDRESS = "127.0.0.1:8443"

_folder = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="LANTHORN_BROKER",
    help="The broker's folder [default: broker/ in LANTHORN_HOME].",
)


def _home(folder: Path | None) -> BrokerHome:
    from lanthorn.broker.home import BrokerHome

    return BrokerHome(folder or broker_folder())


@click.group()
def command() -> None:
    """Hold keys and release them to attested jobs."""


@command.command()
@_folder
@click.option("--address", default=DEFAULT_ADDRESS, show_default=True, help="HOST:PORT to serve on.")
@click.option(
    "--insecure-allow-simulated",
    is_flag=True,
    help="Release keys to simulated platforms too: for development, protects nothing.",
)
@click.option(
    "--simulator",
    type=click.Path(path_type=Path, file_okay=False),
    help="The simulated platform's folder [default: simulator/ in LANTHORN_HOME, made if missing].",
)
def init(folder: Path | None, address: str, insecure_allow_simulated: bool, simulator: Path | None) -> None:
    """Make a broker: its identity, its master key, its empty database.

    Prints what lanthorn.toml needs to name it.
    """
    from lanthorn.broker.home import Address, Settings

    if simulator is not None and not insecure_allow_simulated:
        raise UsageError("--simulator means nothing without --insecure-allow-simulated")
    platform = _simulated_platform(simulator) if insecure_allow_simulated else None
    settings = Settings(Address.parse(address), insecure_allow_simulated, platform)
    home = _home(folder)
    home.create(settings)
    _warn_if_simulated(settings)
    click.echo(_snippet(settings.address, home.pin()), nl=False)


def _simulated_platform(named: Path | None) -> Path:
    """Return the platform's folder; the one of the user's own home is made if there is none."""
    folder = (named or simulator_folder()).absolute()
    if named is None and not folder.exists():
        from datetime import UTC, datetime

        from lanthorn.attestation.simulator.platform import SimulatedPlatform

        SimulatedPlatform.create(folder, now=datetime.now(UTC))
    return folder


def _snippet(address: Address, pin: str) -> str:
    return f'[brokers.home]\nurl = "{address.url}"\nspki = ["{pin}"]\n'


def _warn_if_simulated(settings: Settings) -> None:
    if settings.insecure_allow_simulated:
        logger.warning(
            "insecure_allow_simulated: this broker releases keys to platforms that protect nothing"
        )


@command.command()
@click.argument("lock_file", metavar="LOCK", type=click.Path(path_type=Path, dir_okay=False))
@_folder
@click.option(
    "--policy",
    "policy_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Which platforms may have the keys (TOML).",
)
@click.option(
    "--key", "keys", multiple=True, metavar="NAME=FILE", help="A key's file, instead of the keyring's."
)
@click.option(
    "--keyring",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder of keys [default: keys/ in LANTHORN_HOME].",
)
@click.option("--json", "as_json", is_flag=True, help="Print the grants as JSON.")
def allow(
    lock_file: Path,
    folder: Path | None,
    policy_file: Path | None,
    keys: tuple[str, ...],
    keyring: Path | None,
    as_json: bool,
) -> None:
    """Release this lock's keys to platforms that a policy admits.

    The keys that the lock assigns to this broker are imported from the keyring. An earlier policy for the
    same keys and lock is replaced.
    """
    from lanthorn.broker import owner
    from lanthorn.job.lock import load_lock
    from lanthorn.keys import Keyring

    home = _home(folder)
    settings = home.settings()
    lock = load_lock(lock_file)
    policy_text = _policy_text(settings, lock, policy_file)
    with home.open_store() as store:
        done = owner.allow(
            store,
            lock,
            home.pin(),
            policy_text=policy_text,
            files=_key_files(keys),
            keyring=Keyring(keyring or keyring_folder()),
        )
    for name in done.missing:
        logger.warning("key %s is nowhere to be found: the job cannot run until it is allowed with it", name)
    if as_json:
        click.echo(json.dumps([vars(grant) for grant in done.grants]))
        return
    for grant in done.grants:
        click.echo(f"allowed key {grant.key} for lock {grant.lock} under policy {grant.policy}")


def _key_files(options: tuple[str, ...]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for option in options:
        name, equals, file = option.partition("=")
        if not equals or not file or name in files:
            raise UsageError(f"--key: expected NAME=FILE, once for each name, got {option[:200]}")
        files[name] = Path(file)
    return files


def _policy_text(settings: Settings, lock: Lock, policy_file: Path | None) -> str:
    """Return the policy in self-contained form.

    Without a file, a broker for development trusts the simulator.
    """
    from lanthorn.broker.policies import development_policy, load_policy

    if policy_file is not None:
        return load_policy(policy_file, lock.digest, allow_simulated=settings.insecure_allow_simulated)
    if settings.simulator is None:
        raise UsageError(
            "--policy is needed: which platforms may have the keys?",
            hint="only a broker made with --insecure-allow-simulated has a policy of its own",
        )
    logger.warning(
        "insecure_allow_simulated: allowing the simulated platform in %s, which protects nothing",
        settings.simulator,
    )
    return development_policy(lock.digest, settings.simulator)


@command.command()
@click.argument("lock", metavar="[LOCK]", required=False)
@_folder
@click.option("--key", metavar="NAME", help="Revoke every grant of this key.")
@click.option("--json", "as_json", is_flag=True, help="Print the revoked grants as JSON.")
def revoke(lock: str | None, folder: Path | None, key: str | None, as_json: bool) -> None:
    """Take back what was allowed: for a lock (file or digest), or of a key.

    Takes effect with the next key that is asked for. A key that was released before stays with who has it.
    """
    from lanthorn.broker import owner
    from lanthorn.job.lock import load_lock

    home = _home(folder)
    home.settings()
    with home.open_store() as store:
        grants = owner.revoke(store, lock=lock, key=key, read_lock=lambda path: load_lock(path).digest)
    if as_json:
        click.echo(json.dumps([vars(grant) for grant in grants]))
        return
    for grant in grants:
        click.echo(f"revoked key {grant.key} for lock {grant.lock}")


@command.command()
@_folder
@click.option("--address", help="HOST:PORT instead of the one given to init; port 0 picks a free one.")
@click.option(
    "--ready-fd", type=click.IntRange(min=0), help="Also write the ready line to this file descriptor."
)
def serve(folder: Path | None, address: str | None, ready_fd: int | None) -> None:
    """Serve the KBS protocol over TLS 1.3 until SIGTERM or Ctrl-C.

    Prints one line, "serving on https://… spki sha256:…", when it accepts connections.
    """
    from lanthorn.broker.home import Address
    from lanthorn.broker.run import run_broker

    home = _home(folder)
    settings = home.settings()
    _warn_if_simulated(settings)
    where = Address.parse(address) if address else settings.address
    pin = home.pin()
    run_broker(
        home, settings, where, ready=lambda bound: _announce(f"serving on {bound.url} spki {pin}", ready_fd)
    )


def _announce(line: str, ready_fd: int | None) -> None:
    click.echo(line)
    sys.stdout.flush()
    if ready_fd is not None:
        try:
            os.write(ready_fd, f"{line}\n".encode())
            os.close(ready_fd)
        except OSError as error:
            raise UsageError(f"--ready-fd: cannot write to file descriptor {ready_fd}") from error


@command.command()
@_folder
@click.option("--json", "as_json", is_flag=True, help="Print every row as one JSON object in a line.")
@click.option(
    "--verify", is_flag=True, help="Recompute the chain, and print the number of rows and the head."
)
def log(folder: Path | None, as_json: bool, verify: bool) -> None:
    """Show every decision with its reason.

    --verify finds rows that were changed. It cannot see that the end was cut off, or that all was written
    anew: compare the head it prints with one you noted before.
    """
    from lanthorn.broker.log import verify_chain

    home = _home(folder)
    home.settings()
    with home.open_store() as store:
        if verify:
            count, head = verify_chain(store.log_rows())
            click.echo(json.dumps({"rows": count, "head": head}) if as_json else f"{count} rows, head {head}")
            return
        for row in store.log_rows():
            click.echo(_row_json(row) if as_json else _row_line(row))


def _row_json(row: dict[str, Any]) -> str:
    return json.dumps({**row, "detail": json.loads(row["detail"])}, ensure_ascii=False)


def _row_line(row: dict[str, Any]) -> str:
    fields = (
        ("key", row["key"]),
        ("lock", row["lock"]),
        ("run", row["run_id"]),
        ("policy", row["policy"] or ""),
    )
    named = " ".join(f"{name}={value}" for name, value in fields if value)
    detail = json.loads(row["detail"])
    reasons = [detail.get("words", ""), *(each.get("refused", "") for each in detail.get("policies", []))]
    words = "; ".join(reason for reason in reasons if reason)
    parts = (row["time"], row["event"], row["code"], named, f"({words})" if words else "")
    line = " ".join(part for part in parts if part)
    # Parts of it come from strangers: nothing in it may steer the terminal.
    return "".join(character if character.isprintable() else "?" for character in line)
