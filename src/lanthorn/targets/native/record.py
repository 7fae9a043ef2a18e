"""What a run leaves for its owner beside its outputs: `run.log`, what was printed, and `run.json`, what happened.

Both are protected files under the result's key of this run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from lanthorn.canonical import canonical_json
from lanthorn.keys import WrapKey
from lanthorn.targets.native.outputs import OutputFile

RECORD_NAME = "run.json"
_VERSION = 1


class ProtectedLog:
    """The program's standard streams, as they came."""

    def __init__(self, output: OutputFile) -> None:
        self._output = output
        self._size = 0
        output.start_empty()

    def append(self, data: bytes) -> None:
        self._size += self._output.write(memoryview(data), self._size)

    def publish(self) -> dict[str, dict[str, object]]:
        """Put what was printed in place, whatever else went wrong; return its version id and size."""
        self._output.commit()
        self._output.release()
        return {self._output.path: {"version": self._output.version, "size": self._size}}


@dataclass(frozen=True)
class RunRecord:
    """One run: its ids by broker, its lock, and the version id of everything that went in and came out."""

    run_ids: Mapping[str, str]
    lock: str
    simulated: bool
    started: datetime
    ended: datetime
    exit_code: int
    failure: str | None
    inputs: Mapping[str, str]
    outputs: Mapping[str, Any]

    def write(self, job: Path, key: WrapKey) -> None:
        """Publish the record as `run.json` in the job's folder."""
        data = canonical_json(
            {
                "version": _VERSION,
                "run_ids": dict(self.run_ids),
                "lock": self.lock,
                "simulated": self.simulated,
                "started": self.started.isoformat(timespec="milliseconds"),
                "ended": self.ended.isoformat(timespec="milliseconds"),
                "exit_code": self.exit_code,
                "failure": self.failure,
                "inputs": dict(self.inputs),
                "outputs": dict(self.outputs),
            }
        )
        output = OutputFile(job / RECORD_NAME, RECORD_NAME, key, lambda: True)
        output.start_empty()
        output.write(memoryview(data), 0)
        output.commit()
        output.release()
