"""A TOML table that is read with types and must be read whole: a key nobody asked for is an error."""

from __future__ import annotations

import tomllib
from typing import Any

from lanthorn.errors import UsageError

_MISSING = object()


def parse_toml(text: str, what: str) -> Table:
    """Parse TOML. Raises `UsageError` with the parser's line and column."""
    try:
        return Table(tomllib.loads(text), what)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        detail = str(error).lower() if isinstance(error, tomllib.TOMLDecodeError) else "nested too deeply"
        raise UsageError(f"{what}: not toml: {detail}") from error


class Table:
    """One table; `what` names it in errors."""

    def __init__(self, members: object, what: str) -> None:
        if not isinstance(members, dict):
            raise UsageError(f"{what}: expected a table")
        self._members: dict[str, Any] = members
        self._unread = set(members)
        self.what = what

    def names(self) -> tuple[str, ...]:
        return tuple(self._members)

    def finish(self) -> None:
        """Refuse what was not read."""
        for name in sorted(self._unread):
            raise UsageError(f"{self.what}: unknown key {name[:64]!r}")

    def _get(self, name: str, kind: type, expected: str, default: object) -> Any:  # noqa: ANN401 - of `kind`
        self._unread.discard(name)
        value = self._members.get(name, default)
        if value is _MISSING:
            raise UsageError(f"{self.what}: {name}: missing")
        if type(value) is not kind and value is not default:
            raise UsageError(f"{self.what}: {name}: expected {expected}")
        return value

    def text(self, name: str, *, default: str | None = None) -> str:
        value: str = self._get(name, str, "text", _MISSING if default is None else default)
        return value

    def integer(self, name: str, *, default: int | None) -> int:
        value: int = self._get(name, int, "a whole number", _MISSING if default is None else default)
        return value

    def boolean(self, name: str) -> bool:
        value: bool = self._get(name, bool, "true or false", False)
        return value

    def texts(self, name: str, *, limit: int, optional: bool = False) -> tuple[str, ...]:
        """Read a list of texts, not empty unless `optional`."""
        values = self._get(name, list, "a list", [] if optional else _MISSING)
        if not all(isinstance(value, str) for value in values):
            raise UsageError(f"{self.what}: {name}: expected texts")
        if len(values) > limit or not (values or optional):
            raise UsageError(f"{self.what}: {name}: expected 1 to {limit} entries, got {len(values)}")
        return tuple(values)

    def table(self, name: str) -> Table:
        """Read a table; an absent one is empty."""
        return Table(self._get(name, dict, "a table", {}), f"{self.what}: {name}")

    def tables(self, name: str, *, limit: int) -> list[Table]:
        """Read an array of tables; an absent one is empty."""
        rows = self._get(name, list, "an array of tables", [])
        if len(rows) > limit:
            raise UsageError(f"{self.what}: {name}: expected at most {limit} entries, got {len(rows)}")
        return [Table(row, f"{self.what}: {name}[{index}]") for index, row in enumerate(rows)]
