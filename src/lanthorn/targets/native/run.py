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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lanthorn.job.lock import LOCK_NAME, STORE_NAME, Lock, load_lock
from lanthorn.job.view import checked_locations
from lanthorn.targets.native import namespaces
from lanthorn.targets.native.server import FileServer, Served

if TYPE_CHECKING:
    from lanthorn.attestation.attester.base import Attester
    from lanthorn.targets.native.session import RunResult


@dataclass(frozen=True)
class RunOptions:
    """What an operator may choose: where things lie and how to reach brokers. Nothing of it can change the job."""

    job: Path
    locations: Mapping[str, Path] = field(default_factory=dict)
    broker_urls: Mapping[str, str] = field(default_factory=dict)


def run(options: RunOptions, choose_attester: Callable[[], Attester]) -> RunResult:
    """Run the job and return the program's own exit code. Every failure of the runtime is an `Error`.

    `choose_attester` is called once the file server is on its way. Must be called while this process has one
    thread: it enters namespaces and forks.
    """
    lock = load_lock(options.job / LOCK_NAME)
    locations = _locations(lock, options)
    namespaces.enter()
    namespaces.forbid_dumps()
    mountpoint = tempfile.mkdtemp(prefix="lanthorn-")
    server = FileServer(Served(lock, options.job / STORE_NAME, locations, mountpoint))
    try:
        from lanthorn.targets.native.session import run_released

        return run_released(lock, locations, server, choose_attester(), options.broker_urls)
    finally:
        server.kill()
        os.rmdir(mountpoint)


def _locations(lock: Lock, options: RunOptions) -> dict[str, Path]:
    """Say where each root lies here: the operator's word, else the lock's own hint."""
    places = checked_locations(lock, {**options.locations, "job": options.job})
    return {root: Path(place) for root, place in places.items()}
