"""Where a person's own Lanthorn state lives: keys, a broker, the simulated platform."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """Return `$LANTHORN_HOME`, or `~/.local/share/lanthorn`. Nothing inside a real TEE depends on it."""
    named = os.environ.get("LANTHORN_HOME")
    return Path(named) if named else Path.home() / ".local" / "share" / "lanthorn"


def keyring_folder() -> Path:
    return home() / "keys"


def broker_folder() -> Path:
    return home() / "broker"


def simulator_folder() -> Path:
    return home() / "simulator"
