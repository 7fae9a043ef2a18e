"""The same script, the same Python, no Lanthorn: what everything else is compared with."""

from __future__ import annotations

import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from lanthorn.demo.failure import DemoFailedError
from lanthorn.demo.parties import TIMEOUT_SECONDS


@dataclass(frozen=True)
class NativeResult:
    printed: bytes
    result: bytes
    seconds: float


class NativeRun:
    """A plain run in a plain folder, started at once: it takes its seconds beside other work."""

    def __init__(self, python: Path, folder: Path, script: str, variables: dict[str, str]) -> None:
        self._folder = folder
        self._started = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603 - the example, as a person would run it
            [str(python), script],
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._seconds = 0.0
        self._printed = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def result(self) -> NativeResult:
        """Wait for the end. Raises `DemoFailedError` if the script fails without Lanthorn already."""
        self._reader.join(TIMEOUT_SECONDS)
        path = self._folder / "result.txt"
        if self._process.poll() != 0 or not path.is_file():
            last = self._printed.decode("utf-8", "replace").strip().splitlines()[-1:]
            raise DemoFailedError(f"the native run failed: {' '.join(last) or 'it did not end'}")
        return NativeResult(self._printed, path.read_bytes(), self._seconds)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._reader.join()

    def _read(self) -> None:
        self._printed = self._process.communicate()[0]
        self._seconds = time.monotonic() - self._started
