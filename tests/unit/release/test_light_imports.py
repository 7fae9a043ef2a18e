"""The client is imported before every protected program: nothing heavy may come with it, and no server."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "pydantic",
    "httpx",
    "sqlalchemy",
    "starlette",
    "uvicorn",
    "rich",
    "asyncio",
    "joserfc",
    "cryptography.x509",
)
FORBIDDEN = ("lanthorn.broker", "lanthorn.cli", "lanthorn.attestation.verifier", "lanthorn.appraisal")


@pytest.mark.parametrize("module", ["lanthorn.release.client", "lanthorn.release.jwe"])
def test_nothing_heavy_comes_with_the_client(module: str) -> None:
    code = f"import sys, {module}; print('\\n'.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = run.stdout.split()
    unwanted = [name for name in loaded if name.startswith((*HEAVY, *FORBIDDEN))]
    assert unwanted == []
