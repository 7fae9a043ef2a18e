"""A demo whose attempt is not refused, or not for its reason, must fail by name."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from lanthorn.demo import honest
from lanthorn.demo.failure import DemoFailedError
from lanthorn.demo.hostile.attempt import Attempt, Outcome, judge, logged_reason, of
from lanthorn.demo.hostile.play import all_attempts, play_all
from lanthorn.demo.parties import Finished, Party
from lanthorn.demo.run import conclude
from lanthorn.demo.stage import Props, Stage
from lanthorn.demo.story import Story
from lanthorn.errors import StorageError


def _attempt(outcome: Outcome, reason: str = "") -> Attempt:
    return Attempt("a flipped bit", lambda stage: outcome, r"^model\.pth was changed", reason=reason)


REFUSED = Outcome(125, "model.pth was changed: data node 3")


def _stage(top: Path, story: Story) -> Stage:
    """A stage with a real broker behind it, for its log."""
    props = Props(*(top / name for name in ("script", "model", "photo", "other", "python")))
    owner = Party("owner", top / "owner")
    stage = Stage(top, story, props, owner, Party("operator", top / "operator"))
    owner.must("broker", "init", "--folder", honest.broker_folder(stage))
    return stage


@pytest.mark.parametrize(
    ("outcome", "reason", "words"),
    [
        (
            Outcome(0, "the result is there"),
            "",
            "a flipped bit: expected exit code 125, got 0: the result is there",
        ),
        (Outcome(1, REFUSED.line), "", "a flipped bit: expected exit code 125, got 1"),
        (Outcome(125, "no such job"), "", "a flipped bit: refused, but not for its reason: no such job"),
        (REFUSED, "lock mismatch", "a flipped bit: the broker's log does not say why"),
    ],
)
def test_attempt_that_is_not_refused_fails_the_demo(
    tmp_path: Path, monkeypatch, outcome: Outcome, reason: str, words: str
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    out = io.StringIO()
    story = Story(out, colour=False)
    code = conclude(story, lambda top: play_all(_stage(top, story), [_attempt(outcome, reason)]))
    assert code == 1
    last = out.getvalue().splitlines()[-1]
    assert last.startswith(f"demo: FAILED: {words}")
    assert "demo: OK" not in out.getvalue()
    assert list(tmp_path.iterdir()) == []


def test_refused_attempts_end_well_and_are_told(tmp_path: Path) -> None:
    out = io.StringIO()
    story = Story(out, colour=False)
    assert conclude(story, lambda top: play_all(_stage(top, story), [_attempt(REFUSED)])) == 0
    assert "  refused: a flipped bit: model.pth was changed: data node 3\n" in out.getvalue()
    assert out.getvalue().endswith("demo: OK\n")


@pytest.mark.parametrize("error", [StorageError("disk"), OSError(28, "No space left on device", "x")])
def test_whatever_else_fails_is_named(error: Exception) -> None:
    def scenes(top: Path) -> None:
        raise error

    out = io.StringIO()
    assert conclude(Story(out, colour=False), scenes) == 1
    assert out.getvalue().splitlines()[-1] in (
        "demo: FAILED: disk",
        "demo: FAILED: x: no space left on device",
    )


def test_reason_must_be_the_attempts_own() -> None:
    attempt = _attempt(REFUSED, reason="lock mismatch")
    reasons = ["debug mismatch: got yes", "lock mismatch: got aa11", "lock mismatch: got bb22"]
    assert logged_reason(attempt, Outcome(125, "", shown="got bb22"), reasons) == "lock mismatch: got bb22"
    with pytest.raises(DemoFailedError, match="does not say why"):
        logged_reason(attempt, Outcome(125, "", shown="got cc33"), reasons)


def test_every_attempt_demands_a_reason_and_a_name_of_its_own() -> None:
    attempts = all_attempts()
    assert len({attempt.name for attempt in attempts}) == len(attempts) == 21
    for attempt in attempts:
        with pytest.raises(DemoFailedError):
            judge(attempt, Outcome(attempt.code, "something else"))
        with pytest.raises(DemoFailedError):
            judge(attempt, Outcome(0 if attempt.code else 1, "broker home refused the attestation"))


def test_outcome_has_the_error_line_and_not_the_hint() -> None:
    stderr = "lanthorn: NOT PROTECTED\nlanthorn: error: photo.png is withheld\nlanthorn: hint: look\n"
    assert of(Finished("lanthorn run", 125, "", stderr, 0.1)) == Outcome(125, "photo.png is withheld")
    assert of(Finished("lanthorn run", 1, "", "", 0.1)).line == "lanthorn run said nothing and ended with 1"
