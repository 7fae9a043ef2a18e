"""The package's promise: every public name exists, and importing it stays cheap."""

from __future__ import annotations

import subprocess
import sys

import lanthorn.protected


def test_all_is_what_is_importable() -> None:
    names = {name for name in vars(lanthorn.protected) if not name.startswith("_")}
    modules = {
        name
        for name in names
        if f"lanthorn.protected.{name}" in sys.modules and name not in lanthorn.protected.__all__
    }
    assert names - modules - {"annotations"} == set(lanthorn.protected.__all__)


def test_importing_pulls_in_nothing_heavy() -> None:
    heavy = ["pydantic", "httpx", "sqlalchemy", "starlette", "rich", "asyncio", "click", "multiprocessing"]
    code = f"import sys, lanthorn.protected, lanthorn.keys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
