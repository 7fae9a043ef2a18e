"""One run from released keys to published outputs.

Imported after the file server was forked, so that what this needs is loaded while the view is being mounted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lanthorn.attestation.attester.base import Attester
from lanthorn.errors import RUN_FAILED, Error, ManifestError
from lanthorn.job.lock import Lock
from lanthorn.keys import WrapKey
from lanthorn.release.keys import Release, release_keys
from lanthorn.targets.native import namespaces, record, sandbox
from lanthorn.targets.native.outputs import OutputFile, remove_leftovers
from lanthorn.targets.native.program import Program
from lanthorn.targets.native.server import FileServer

LOG_NAME = "run.log"


@dataclass(frozen=True)
class RunResult:
    """How a run ended."""

    exit_code: int
    run_id: str | None
    outputs: Mapping[str, Any]
    refused: list[str]


def run_released(
    lock: Lock, locations: dict[str, Path], server: FileServer, attester: Attester, urls: Mapping[str, str]
) -> RunResult:
    """Bind the platform to the lock, get the job's keys, and run it.

    Raises `Error` for every failure but the program's own.
    """
    remove_leftovers(locations["job"])
    attester.bind(lock.digest)
    release = release_keys(lock, attester, urls)
    return _Session(lock, locations, server, release, simulated=attester.simulated).run()


class _Session:
    """The steps after release, over what they share."""

    def __init__(
        self, lock: Lock, locations: dict[str, Path], server: FileServer, release: Release, *, simulated: bool
    ) -> None:
        self._lock = lock
        self._job = locations["job"]
        self._locations = locations
        self._server = server
        self._release = release
        self._simulated = simulated

    def run(self) -> RunResult:
        started = datetime.now(UTC)
        mounted = self._server.wait_mounted()
        versions = self._server.unlock(self._entry_keys())
        log = self._open_log()
        try:
            program = Program(lambda status: self._command(mounted, status), log.append if log else None)
            exit_code = program.wait(self._server)
            finished = self._server.finish()
        except Error as error:
            self._write_record(
                started, RUN_FAILED, versions, log.publish() if log else {}, failure=error.message
            )
            raise
        outputs = {**finished["outputs"], **(log.publish() if log else {})}
        self._write_record(started, exit_code, versions, outputs)
        return RunResult(exit_code, self._run_id(), outputs, finished["refused"])

    def _entry_keys(self) -> list[tuple[int, WrapKey]]:
        keys = self._release.read, self._release.write
        return [
            (number, keys[entry.access == "write"][entry.key])
            for number, entry in enumerate(self._lock.protected)
        ]

    def _command(self, mounted: Mapping[str, Any], status: int) -> list[str]:
        roots = [str(path) for name, path in self._locations.items() if name != "system"]
        world = sandbox.World(
            mountpoint=self._server.mountpoint,
            top=mounted["top"],
            roots=roots,
            folder=str(self._job),
            environment=self._lock.environment,
            command=[mounted["program"], *self._lock.arguments],
            user_namespace=namespaces.user_namespace_possible(),
        )
        return sandbox.bubblewrap(world, status_fd=status)

    def _open_log(self) -> record.ProtectedLog | None:
        if self._lock.stdio == "operator":
            return None
        return record.ProtectedLog(OutputFile(self._job / LOG_NAME, LOG_NAME, self._log_key(), lambda: True))

    def _log_key(self) -> WrapKey:
        name = self._lock.log_key
        if name is None:
            raise ManifestError("the lock names no key for the run's log")
        return self._release.write[name]

    def _run_id(self) -> str | None:
        name = self._lock.log_key
        return self._release.run_ids.get(self._lock.keys[name]) if name else None

    def _write_record(
        self,
        started: datetime,
        exit_code: int,
        inputs: Mapping[str, str],
        outputs: Mapping[str, Any],
        failure: str | None = None,
    ) -> None:
        if self._lock.log_key is None:
            return
        contents = record.RunRecord(
            run_ids=self._release.run_ids,
            lock=self._lock.digest.hex(),
            simulated=self._simulated,
            started=started,
            ended=datetime.now(UTC),
            exit_code=exit_code,
            failure=failure,
            inputs=inputs,
            outputs=outputs,
        )
        contents.write(self._job, self._log_key())
