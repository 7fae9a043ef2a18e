"""Print the demo as a story: numbered sections, who does what, what is seen. Decides nothing."""

from __future__ import annotations

import time
from typing import TextIO

_BOLD, _DIM, _RED, _GREEN, _YELLOW, _BLUE = "1", "2", "31", "32", "33", "34"
_LABEL = 10


class Story:
    """Write to one stream; colour only where `colour` says that somebody looks."""

    def __init__(self, out: TextIO, *, colour: bool) -> None:
        self._out = out
        self._colour = colour
        self._sections = 0
        self._started = time.monotonic()

    def title(self, text: str) -> None:
        self._line(self._paint(_BOLD, text))

    def section(self, text: str) -> None:
        self._sections += 1
        self._line("")
        heading = self._paint(_BOLD, f"{self._sections}. {text}")
        self._line(f"{heading} {self._paint(_DIM, f'(at {self._seconds():.1f} s)')}")

    def owner(self, text: str) -> None:
        self._labelled("owner", _BLUE, text)

    def operator(self, text: str) -> None:
        self._labelled("operator", _YELLOW, text)

    def seen(self, text: str) -> None:
        """Print what a party gets to see, below what it did."""
        for line in text.splitlines():
            self._line(" " * (_LABEL + 3) + self._paint(_DIM, line))

    def refused(self, attempt: str, line: str) -> None:
        self._line(f"  {self._paint(_GREEN, 'refused')}: {attempt}: {line}")

    def ok(self) -> None:
        self._line("")
        self._line(f"All of it in {self._seconds():.1f} s.")
        self._line(self._paint(_GREEN, "demo: OK"))

    def failed(self, what: str) -> None:
        self._line("")
        self._line(self._paint(_RED, f"demo: FAILED: {what}"))

    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def _labelled(self, who: str, colour: str, text: str) -> None:
        self._line(f"  {self._paint(colour, who.ljust(_LABEL))} {text}")

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text

    def _line(self, text: str) -> None:
        self._out.write(f"{text}\n")
        self._out.flush()
