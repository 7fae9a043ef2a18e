"""The broker's settings: what is written is what is read, anything else is refused by name."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanthorn.broker.home import Address, Settings
from lanthorn.errors import UsageError

SOURCE = Path("broker.toml")


@pytest.mark.parametrize("text", ["127.0.0.1:8443", "broker.example:1", "[::1]:8443", "h:0", "h:65535"])
def test_an_address_reads_as_it_is_written(text: str) -> None:
    assert str(Address.parse(text)) == text
    assert Address.parse(text).url == f"https://{text}"


@pytest.mark.parametrize("simulator", [None, Path("/somewhere/simulator")])
def test_settings_round_trip(simulator: Path | None) -> None:
    settings = Settings(Address("h", 1), simulator is not None, simulator)
    assert Settings.parse(settings.to_toml(), SOURCE) == settings


GOOD = 'version = 1\naddress = "h:1"\ninsecure_allow_simulated = false\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected version 1, got None"),
        (GOOD.replace("version = 1", "version = 2"), "expected version 1, got 2"),
        (GOOD + "insecure_allow_everything = true\n", "unknown setting insecure_allow_everything"),
        (GOOD.replace("false", '"false"'), "are needed"),
        (GOOD.replace("insecure_allow_simulated = false", ""), "are needed"),
        (GOOD.replace('"h:1"', "1"), "are needed"),
        (GOOD.replace("h:1", "h"), "not an address"),
        (GOOD + "simulator = 1\n", "simulator is not a path"),
        ("version = ", "is not TOML"),
    ],
)
def test_other_settings_are_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Settings.parse(text, SOURCE)


@given(st.text(max_size=100))
def test_random_text_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Settings.parse(text, SOURCE)
    with contextlib.suppress(UsageError):
        assert str(Address.parse(text)) == text or ":" in text
