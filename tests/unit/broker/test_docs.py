"""The documented refusals are the ones there are, with their status."""

from __future__ import annotations

import re
from pathlib import Path

from lanthorn.broker.app import _ERRORS
from lanthorn.release.reasons import HINTS, Reason

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "broker.md"


def test_every_code_is_documented_with_its_status() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d{3}) \|", DOCUMENT.read_text(), flags=re.MULTILINE)
    expected = {reason.value: str(_ERRORS.get(reason, (401, ""))[0]) for reason in Reason}
    assert dict(rows) == expected
    assert len(rows) == len(expected)


def test_hints_are_about_codes_that_exist() -> None:
    assert set(HINTS) <= {reason.value for reason in Reason}
