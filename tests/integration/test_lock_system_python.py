"""An environment made by the distribution's own Python: its prefix is /usr, shared with the whole system."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SYSTEM_PYTHON = Path("/usr/bin/python3")


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A virtual environment of the system's Python with one module of its own."""
    made = tmp_path / "venv"
    command = [SYSTEM_PYTHON, "-I", "-m", "venv", "--without-pip", made]
    if not SYSTEM_PYTHON.exists() or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("/usr/bin/python3 is absent or makes no environments")
    site = next(made.glob("lib/python3.*/site-packages"))
    (site / "module.py").write_text("x = 1\n")
    return made


def test_environment_keeps_its_own_files_apart_from_the_interpreters(
    tmp_path: Path, environment: Path
) -> None:
    job = tmp_path / "job"
    job.mkdir()
    (job / "main.py").write_text("import module\n")
    python = json.dumps(str(environment / "bin" / "python"))
    (job / "lanthorn.toml").write_text(
        f'[job]\nname = "a"\ncommand = ["python", "main.py"]\npython = {python}\nstdio = "operator"\n'
    )
    variables = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "lanthorn", "lock", str(job), "--json"],
        capture_output=True,
        text=True,
        env=variables,
    )
    assert done.returncode == 0, done.stderr
    roots = json.loads(done.stdout)["roots"]
    assert roots["environment"]["files"] == 1
    listed = (job / "lanthorn.lock.d" / f"{roots['environment']['digest']}.list").read_text()
    assert "site-packages/module.py" in listed
    assert roots["interpreter"]["files"] > 100
