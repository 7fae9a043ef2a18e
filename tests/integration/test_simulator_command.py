"""`lanthorn simulator` as a person types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lanthorn.attestation.attester.simulated import SimulatedTDX


@pytest.fixture
def lanthorn(tmp_path: Path):
    environment = os.environ | {"LANTHORN_HOME": str(tmp_path / "home")}

    def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "lanthorn", "simulator", *arguments],
            capture_output=True,
            text=True,
            env=environment,
        )
        assert done.returncode == code, done.stderr
        return done

    return run


def test_life_of_a_platform(lanthorn, tmp_path: Path) -> None:
    made = lanthorn("init")
    assert made.stdout == "" and "protects nothing" in made.stderr
    folder = tmp_path / "home" / "simulator"
    shown = json.loads(lanthorn("show", "--json").stdout)
    assert shown["folder"] == str(folder) and shown["tcb"] == "UpToDate" and not shown["bound"]
    changed = json.loads(lanthorn("set", "--tcb", "OutOfDate", "--debug", "--revoke", "pck", "--json").stdout)
    assert (changed["tcb"], changed["debug"], changed["revoked"]) == ("OutOfDate", True, "pck")
    SimulatedTDX(folder).bind(bytes(32))
    assert json.loads(lanthorn("show", "--json").stdout)["bound"]
    assert "boot 2" in lanthorn("reboot").stderr
    after = json.loads(lanthorn("show", "--json").stdout)
    assert not after["bound"] and after["boot_count"] == 2 and after["tcb"] == "OutOfDate"
    assert "OutOfDate" in lanthorn("show").stdout


def test_export_has_no_key(lanthorn, tmp_path: Path) -> None:
    lanthorn("init", str(tmp_path / "p"))
    lanthorn("export", str(tmp_path / "out"), "--folder", str(tmp_path / "p"))
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["collateral-sgx.json", "collateral.json", "root.pem"]
    refused = lanthorn("export", str(tmp_path / "out"), "--folder", str(tmp_path / "p"), code=3)
    assert refused.stderr.startswith("lanthorn: error: output exists")
    lanthorn("export", str(tmp_path / "out"), "--folder", str(tmp_path / "p"), "--force")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["show"], 31, "hint: make one: lanthorn simulator init"),
        (["reboot"], 31, "no simulated platform"),
        (["set", "--debug"], 31, "no simulated platform"),
        (["set"], 2, "nothing to set"),
        (["set", "--tcb", "Fine"], 2, "Fine"),
        (["init", "a", "--folder", "b"], 2, "not both"),
    ],
)
def test_mistakes(lanthorn, tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    done = lanthorn(*arguments, code=code)
    assert words in done.stderr and done.stdout == ""
    assert "Traceback" not in done.stderr


def test_init_twice(lanthorn) -> None:
    lanthorn("init")
    assert "a simulated platform exists" in lanthorn("init", code=3).stderr
