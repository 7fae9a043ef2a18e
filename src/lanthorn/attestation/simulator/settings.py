"""What of the simulated platform can be set, and the security versions that bring each TCB status about."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from lanthorn.errors import FormatError, UsageError

# First SGX component's version -> the status the simulated vendor gives it, newest first.
TCB_LEVELS = {
    "UpToDate": 8,
    "SWHardeningNeeded": 7,
    "ConfigurationNeeded": 6,
    "ConfigurationAndSWHardeningNeeded": 5,
    "OutOfDate": 4,
    "OutOfDateConfigurationNeeded": 3,
    "Revoked": 2,
}
ISV_LEVELS = {"UpToDate": 4, "OutOfDate": 2}
CHOICES: dict[str, tuple[str, ...]] = {
    "tcb": tuple(TCB_LEVELS),
    "qe": tuple(ISV_LEVELS),
    "module": tuple(ISV_LEVELS),
    "revoked": ("none", "pck", "ca"),
    "collateral": ("current", "expired"),
}


@dataclass(frozen=True)
class Settings:
    """The simulated platform as its owner set it; the defaults are a platform in good order."""

    tcb: str = "UpToDate"
    qe: str = "UpToDate"
    module: str = "UpToDate"
    revoked: str = "none"
    collateral: str = "current"
    debug: bool = False
    sept_ve_disable: bool = True

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise UsageError(f"simulator {name}: expected one of {', '.join(choices)}, got {value!r}")

    def changed(self, changes: dict[str, Any]) -> Settings:
        """Return these settings with some replaced. Raises `UsageError` for an unknown name or value."""
        unknown = changes.keys() - {field.name for field in dataclasses.fields(self)}
        if unknown:
            raise UsageError(f"simulator: unknown setting {sorted(unknown)[0]!r}")
        return dataclasses.replace(self, **changes)


def parse_settings(members: object) -> Settings:
    """Read stored settings. Raises `FormatError` for anything that `Settings` would not hold."""
    if not isinstance(members, dict):
        raise FormatError("simulated platform: settings: expected an object")
    fields = {field.name: type(field.default) for field in dataclasses.fields(Settings)}
    if fields.keys() != members.keys() or any(
        type(members[name]) is not kind for name, kind in fields.items()
    ):
        raise FormatError("simulated platform: settings: unknown, missing or ill-typed member")
    try:
        return Settings(**members)
    except UsageError as error:
        raise FormatError(error.message) from error
