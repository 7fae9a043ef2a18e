"""The lab, once for each worker: setting it up takes seconds, a run half of one."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.native.lab import Lab


def _missing() -> str | None:
    if not os.path.exists("/dev/fuse"):
        return "no /dev/fuse"
    if shutil.which("bwrap") is None:
        return "no bubblewrap"
    try:
        ctypes.CDLL("libfuse3.so.3")
    except OSError:
        return "no libfuse 3"
    return None


@pytest.fixture(scope="session")
def shared_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    missing = _missing()
    if missing and not os.environ.get("CI"):
        pytest.skip(missing)
    lab = Lab(tmp_path_factory.mktemp("lab") / "native")
    lab.set_up()
    yield lab
    lab.stop()


@pytest.fixture
def lab(shared_lab: Lab) -> Lab:
    """The lab as it was made, whatever an earlier test did to the operator's folder."""
    shared_lab.restore()
    return shared_lab


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
