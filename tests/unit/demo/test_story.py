"""What is printed, and what a party's commands inherit."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from lanthorn.demo.failure import DemoFailedError
from lanthorn.demo.parties import Party
from lanthorn.demo.story import Story


def _tell(colour: bool) -> str:
    out = io.StringIO()
    story = Story(out, colour=colour)
    story.title("Lanthorn")
    story.section("The owner makes keys")
    story.owner("lanthorn key new model")
    story.operator("lanthorn run .")
    story.seen("first bytes 47\nversion id 3f")
    story.refused("a flipped bit", "model.pth was changed")
    story.ok()
    return out.getvalue()


def test_colour_only_when_asked_for() -> None:
    plain = _tell(colour=False)
    assert "\x1b" not in plain
    assert "1. The owner makes keys (at 0.0 s)\n  owner      lanthorn key new model\n" in plain
    assert "             first bytes 47\n             version id 3f\n" in plain
    assert "\x1b[32mdemo: OK\x1b[0m\n" in _tell(colour=True)


def test_party_inherits_nothing_but_path(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("LANTHORN_BROKER", "/elsewhere")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    variables = Party("operator", tmp_path / "operator").environment()
    assert sorted(variables) == ["HOME", "LANG", "LANTHORN_HOME", "PATH", "TMPDIR"]
    assert all(variables[name].startswith(str(tmp_path)) for name in ("HOME", "LANTHORN_HOME", "TMPDIR"))


def test_terminal_is_captured_and_failure_is_named(tmp_path: Path) -> None:
    party = Party("owner", tmp_path / "owner")
    party.must("key", "new", "model")
    with pytest.raises(DemoFailedError, match=r"^owner: lanthorn key new ended with 3: "):
        party.must("key", "new", "model")
    captured = party.terminal.read_text()
    assert captured.count("$ lanthorn key new model\n") == 2 and "lanthorn: error: " in captured
