"""`lanthorn demo` as `make demo` runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lanthorn.demo.hostile.play import all_attempts

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-demo" / "bin" / "python"
DEMO = [sys.executable, "-m", "lanthorn", "demo"]
GIVEN = [
    "--example",
    str(ROOT / "examples/classify"),
    "--assets",
    str(ROOT / "build/assets"),
    "--python",
    str(PYTHON),
]

needs_demo = pytest.mark.skipif(
    not (PYTHON.exists() and (ROOT / "build/assets/model.pth").exists()),
    reason="the example's environment and assets are absent: make demo-env",
)


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """An environment whose temporary folder is the test's own; the lock's bytecode cache is shared."""
    return {**os.environ, "TMPDIR": str(tmp_path), "NO_COLOR": "1"}


@needs_demo
@pytest.mark.fuse
@pytest.mark.torch
def test_demo_keeps_the_whole_promise(variables: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(DEMO + GIVEN, capture_output=True, text=True, env=variables, timeout=280)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert lines[-1] == "demo: OK" and done.stderr == ""
    told = [line for line in lines if line.startswith("  refused: ")]
    for attempt, line in zip(all_attempts(), told, strict=True):
        assert line.startswith(f"  refused: {attempt.name}: ")
    assert "NOT PROTECTED: simulated platform" in done.stdout
    for words in (
        "tiger cat",
        "Egyptian cat",
        "tabby",
        "gives the same bytes",
        "none (",
        "still no plaintext",
    ):
        assert words in done.stdout, words
    assert list(tmp_path.iterdir()) == []


@needs_demo
@pytest.mark.torch
def test_interrupted_demo_leaves_nothing(variables: dict[str, str], tmp_path: Path) -> None:
    process = subprocess.Popen(
        DEMO + GIVEN,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=variables,
        start_new_session=True,
    )
    assert process.stdout
    served = next(line for line in process.stdout if "lanthorn broker serve" in line)
    os.killpg(process.pid, signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "demo: OK" not in rest and "Traceback" not in errors and "lanthorn: error: interrupted" in errors
    assert list(tmp_path.iterdir()) == []
    port = served.rpartition(":")[2].strip()
    listening = Path("/proc/net/tcp").read_text()
    assert f"0100007F:{int(port):04X} 00000000:0000 0A" not in listening
    assert _ends(process.pid)


def _ends(group: int) -> bool:
    """Whether no process of the group is left; init may take a moment to reap orphans."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--example, --assets and --python are needed"),
        (GIVEN[:4], "--example, --assets and --python are needed"),
        (["--example", "nowhere", *GIVEN[2:]], "no such file: nowhere/classify.py"),
    ],
)
def test_demo_without_its_files_says_where_they_are(
    variables: dict[str, str], arguments: list[str], words: str
) -> None:
    done = subprocess.run(DEMO + arguments, capture_output=True, text=True, env=variables)
    assert done.returncode == 2 and done.stdout == ""
    error, hint = done.stderr.splitlines()
    assert error == f"lanthorn: error: {words}" and "run `make demo` in a checkout" in hint
