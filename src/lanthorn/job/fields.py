"""Read a TOML or JSON table strictly: each key once, with its type and limit, and nothing left over."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lanthorn.errors import Error, UsageError

MAX_TEXT = 65536
MAX_ITEMS = 100_000
MAX_NUMBER = 2**53 - 1
"""The largest integer that every JSON reader holds exactly (RFC 8785)."""

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""Names of keys, brokers and jobs."""


class Fields:
    """A table being taken apart; `done` refuses what was not asked for.

    Every refusal is the error class given, and names the file and the key.
    """

    def __init__(self, values: object, where: str, error: type[Error] = UsageError) -> None:
        self._where = where
        self._error = error
        if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
            raise error(f"{where}: expected a table, got {_kind(values)}")
        self._values: dict[str, Any] = values
        self._left = dict.fromkeys(values)

    def refuse(self, key: str, problem: str) -> Error:
        """Return the error to raise for `key`."""
        return self._error(f"{self._where}: {key}: {problem}")

    def has(self, key: str) -> bool:
        return key in self._values

    def names(self) -> list[str]:
        return list(self._values)

    def text(self, key: str, default: str | None = None) -> str:
        value = self._take(key, default)
        if not isinstance(value, str):
            raise self.refuse(key, f"expected a string, got {_kind(value)}")
        return self._checked(key, value)

    def name(self, key: str, default: str | None = None) -> str:
        value = self.text(key, default)
        if not NAME.fullmatch(value):
            raise self.refuse(key, f"{value!r} is not a name ({NAME.pattern})")
        return value

    def choice(self, key: str, allowed: tuple[str, ...], default: str | None = None) -> str:
        value = self.text(key, default)
        if value not in allowed:
            raise self.refuse(key, f"expected {' or '.join(map(repr, allowed))}, got {value!r}")
        return value

    def texts(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        value = self._take(key, None if default is None else list(default))
        if not isinstance(value, list) or len(value) > MAX_ITEMS:
            raise self.refuse(key, f"expected a list of strings, got {_kind(value)}")
        if not all(isinstance(item, str) for item in value):
            raise self.refuse(key, "expected strings only")
        return tuple(self._checked(key, item) for item in value)

    def flag(self, key: str, default: bool | None = None) -> bool:
        value = self._take(key, default)
        if not isinstance(value, bool):
            raise self.refuse(key, f"expected true or false, got {_kind(value)}")
        return value

    def number(self, key: str) -> int:
        value = self._take(key, None)
        if type(value) is not int or not 0 <= value <= MAX_NUMBER:
            raise self.refuse(key, f"expected a number from 0 to {MAX_NUMBER}, got {value!r:.40}")
        return value

    def table(self, key: str, *, optional: bool = False) -> Fields:
        value = self._take(key, {} if optional else None)
        return Fields(value, f"{self._where}: [{key}]", self._error)

    def tables(self, key: str) -> list[Fields]:
        value = self._take(key, [])
        if not isinstance(value, list) or len(value) > MAX_ITEMS:
            raise self.refuse(key, f"expected [[{key}]] tables, got {_kind(value)}")
        return [
            Fields(item, f"{self._where}: [[{key}]] {at}", self._error) for at, item in enumerate(value, 1)
        ]

    def mapping(self) -> Mapping[str, str]:
        """Take every key of this table as a string."""
        return {key: self.text(key) for key in self._values}

    def only(self, *known: str) -> None:
        """Refuse a key that is none of `known`, before a misspelt one is called missing under its right name."""
        for key in self._left:
            if key not in known:
                import difflib  # Only an error pays for it: this module is on the path of every run.

                near = difflib.get_close_matches(key, known, 1)
                hint = f"is it {near[0]!r}?" if near else None
                raise self._error(f"{self._where}: unknown key {key!r:.200}", hint=hint)

    def done(self) -> None:
        """Refuse the keys that nothing asked for."""
        if self._left:
            unknown = ", ".join(repr(key) for key in self._left)
            raise self._error(f"{self._where}: unknown key {unknown:.200}")

    def _take(self, key: str, default: object) -> Any:  # noqa: ANN401 - whatever the file holds
        self._left.pop(key, None)
        value = self._values.get(key, default)
        if value is None:
            raise self._error(f"{self._where}: {key} is missing")
        return value

    def _checked(self, key: str, value: str) -> str:
        if len(value) > MAX_TEXT:
            raise self.refuse(key, f"longer than the limit of {MAX_TEXT} characters")
        if "\0" in value:
            raise self.refuse(key, "holds a NUL character")
        return value


def _kind(value: object) -> str:
    return {dict: "a table", list: "a list", str: "a string", bool: "a truth value"}.get(
        type(value), type(value).__name__
    )
