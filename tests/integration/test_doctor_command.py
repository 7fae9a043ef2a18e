"""`lanthorn doctor` on the machine that runs the tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def doctor(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lanthorn", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)


@pytest.mark.fuse
def test_this_machine_can_run_jobs() -> None:
    done = doctor()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("target: native, simulated: NOT PROTECTED")
    assert "sandbox over FUSE" in done.stdout and done.stderr == ""


@pytest.mark.fuse
def test_json_says_the_same() -> None:
    told = json.loads(doctor("--json").stdout)
    assert told["ready"] is True and told["protected"] is False and told["tees"] == []
    states = {each["name"]: each["state"] for each in told["findings"]}
    assert states["sandbox over FUSE"] == states["bubblewrap"] == "OK"


def test_without_bubblewrap_it_ends_with_50(tmp_path: Path) -> None:
    done = doctor(PATH=str(tmp_path))
    assert done.returncode == 50
    assert "MISSING" in done.stdout and "apt-get install bubblewrap" in done.stdout
    assert done.stderr.startswith("lanthorn: error: no job can run here: ") and "Traceback" not in done.stderr


@pytest.mark.fuse
def test_a_sandbox_that_fails_is_found_by_trying(tmp_path: Path) -> None:
    fake = tmp_path / "bwrap"
    fake.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo bubblewrap 0.8.0 && exit\necho "bwrap: no" >&2; exit 1\n'
    )
    fake.chmod(0o755)
    done = doctor(PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 50
    assert "bubblewrap: bwrap: no" in done.stdout


@pytest.mark.fuse
def test_the_trial_leaves_nothing_behind(tmp_path: Path) -> None:
    assert doctor(TMPDIR=str(tmp_path)).returncode == 0
    assert list(tmp_path.iterdir()) == []
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
