"""Run a locked job: attest, fetch its keys, start the program in its sandbox, publish what it wrote.

(1) the lock is loaded and the file server forked, which mounts the view while the keys are on their way
(2) the platform is bound to the lock (RTMR3 on TDX), before any byte of the program runs
(3) each broker of the lock gets fresh evidence over a fresh key, and releases this job's keys or refuses
(4) the file server opens every protected input; one that is withheld or changed ends the run here
(5) the program runs; the first failed check kills it
(6) outputs, log and record are put in place, each complete
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lanthorn.attestation.attester.base import Attester
from lanthorn.errors import Error, ManifestError
from lanthorn.job.lock import LOCK_NAME, STORE_NAME, Lock, load_lock
from lanthorn.job.view import checked_locations
from lanthorn.keys import WrapKey
from lanthorn.release.keys import Release, release_keys
from lanthorn.targets.native import namespaces, record, sandbox
from lanthorn.targets.native.outputs import OutputFile, remove_leftovers
from lanthorn.targets.native.program import Program
from lanthorn.targets.native.server import FileServer, Served

LOG_NAME = "run.log"
# The exit code of every failure of the runtime itself, as `env` and container engines have it.
FAILED = 125


@dataclass(frozen=True)
class RunOptions:
    """What an operator may choose: where things lie and how to reach brokers. Nothing of it can change the job."""

    job: Path
    locations: Mapping[str, Path] = field(default_factory=dict)
    broker_urls: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RunResult:
    """How a run ended."""

    exit_code: int
    run_id: str | None
    outputs: Mapping[str, Any]
    refused: list[str]


def run(options: RunOptions, attester: Attester) -> RunResult:
    """Run the job and return the program's own exit code. Every failure of the runtime is an `Error`.

    Must be called while this process has one thread: it enters namespaces and forks.
    """
    lock = load_lock(options.job / LOCK_NAME)
    locations = _locations(lock, options)
    namespaces.enter()
    namespaces.forbid_dumps()
    remove_leftovers(options.job)
    mountpoint = tempfile.mkdtemp(prefix="lanthorn-")
    literals = {path: text.encode() for path, text in sandbox.ETC.items()}
    server = FileServer(Served(lock, options.job / STORE_NAME, locations, mountpoint, literals))
    try:
        attester.bind(lock.digest)
        release = release_keys(lock, attester, options.broker_urls)
        return _Run(lock, options.job, locations, mountpoint, server, release, attester.simulated).run()
    finally:
        server.kill()
        os.rmdir(mountpoint)


def _locations(lock: Lock, options: RunOptions) -> dict[str, Path]:
    """Say where each root lies here: the operator's word, else the lock's own hint."""
    places = checked_locations(lock, {**options.locations, "job": options.job})
    return {root: Path(place) for root, place in places.items()}


class _Run:
    """The steps after release, over what they share."""

    def __init__(
        self,
        lock: Lock,
        job: Path,
        locations: dict[str, Path],
        mountpoint: str,
        server: FileServer,
        release: Release,
        simulated: bool,
    ) -> None:
        self._lock = lock
        self._job = job
        self._locations = locations
        self._mountpoint = mountpoint
        self._server = server
        self._release = release
        self._simulated = simulated
        self._program = ""

    def run(self) -> RunResult:
        started = datetime.now(UTC)
        mounted = self._server.wait_mounted()
        top, self._program = mounted["top"], mounted["program"]
        versions = self._server.unlock(self._entry_keys())
        log = self._open_log()
        try:
            program = Program(lambda status: self._command(top, status), log.append if log else None)
            exit_code = program.wait(self._server)
            finished = self._server.finish()
        except Error as error:
            self._write_record(started, FAILED, versions, log.publish() if log else {}, failure=error.message)
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

    def _command(self, top: Mapping[str, str | None], status: int) -> list[str]:
        roots = [str(path) for name, path in self._locations.items() if name != "system"]
        world = sandbox.World(
            mountpoint=self._mountpoint,
            top=top,
            roots=roots,
            folder=str(self._job),
            environment=self._lock.environment,
            command=[self._program, *self._lock.arguments],
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
