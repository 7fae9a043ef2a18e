"""What several test folders need: where shared data lies, and what this machine can do."""

from __future__ import annotations

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of facts and golden data, which users' machines do not have."""
    if not SHARED.is_dir():
        pytest.skip("../shared is absent: it holds golden files and evidence of others, never shipped")
    return SHARED


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the keys, broker or simulated platform of the person who runs it."""
    monkeypatch.setenv("LANTHORN_HOME", str(tmp_path_factory.mktemp("home")))
