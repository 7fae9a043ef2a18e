"""A broker to test with: a simulated platform, locks of small jobs, a home, the real server beside it."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from lanthorn.attestation.attester.simulated import SimulatedTDX
from lanthorn.attestation.simulator.platform import SimulatedPlatform
from lanthorn.broker.home import BrokerHome
from lanthorn.cli import main
from lanthorn.job.lock import Lock, load_lock
from lanthorn.keys import Keyring
from lanthorn.release.client import ReleaseClient
from lanthorn.release.endpoint import BrokerEndpoint

READY_SECONDS = 20
ENTRY = {"kind": "file"}


def job_values(pin: str, *, name: str = "classify") -> dict[str, Any]:
    """Return the tables of a lock: `model` is read, `result` is written, `both` is read and written."""
    entries = [
        {"path": "both-in", "key": "both", "access": "read", "floating": True, **ENTRY},
        {"path": "both-out", "key": "both", "access": "write", **ENTRY},
        {"path": "model", "key": "model", "access": "read", "version": "ab" * 32, **ENTRY},
        {"path": "result", "key": "result", "access": "write", **ENTRY},
    ]
    root = {"files": 1, "bytes": 1, "digest": "cd" * 32}
    return {
        "lanthorn_lock": 1,
        "job": {
            "version": 1,
            "name": name,
            "program": {"root": "environment", "path": "bin/python"},
            "arguments": ["classify.py"],
            "environment": {},
            "stdin": "empty",
            "stdio": "protected",
            "network": [],
            "log_key": "log",
            "protected": entries,
            "keys": {key: "home" for key in ("both", "log", "model", "result")},
            "brokers": {"home": [pin]},
            "python": {
                "implementation": "cpython",
                "version": "3.11.7",
                "cache_tag": "cpython-311",
                "executable": "bin/python3.11",
                "venv": True,
            },
            "roots": {part: root for part in ("job", "environment", "interpreter", "system", "bytecode")},
        },
    }


@dataclass
class Served:
    """A running `lanthorn broker serve`."""

    process: subprocess.Popen[str]
    url: str
    pin: str
    first_line: str

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=READY_SECONDS)


@dataclass(frozen=True)
class Done:
    """What a finished command printed."""

    stdout: str
    stderr: str


@dataclass
class Lab:
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.environment = {**os.environ, "LANTHORN_HOME": str(self.folder / "home")}
        self.home = BrokerHome(self.folder / "home" / "broker")
        self.keyring = Keyring(self.folder / "home" / "keys")
        self.simulator = self.folder / "home" / "simulator"

    def set_up(self, *, simulated: bool = True) -> None:
        """Make simulator, keys and broker; allow nothing yet."""
        SimulatedPlatform.create(self.simulator, now=datetime.now(UTC))
        for name in ("both", "log", "model", "result"):
            self.keyring.create(name)
        self.run("broker", "init", *(["--insecure-allow-simulated"] if simulated else []))

    def run(self, *arguments: str, code: int = 0) -> Done:
        """Run the command line in this process (a new one costs half a second) and check its exit code."""
        out, err = io.StringIO(), io.StringIO()
        warnings = logging.StreamHandler(err)
        warnings.setFormatter(logging.Formatter("lanthorn: warning: %(message)s"))
        logger = logging.getLogger("lanthorn")
        logger.addHandler(warnings)
        exited: object = None
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LANTHORN_HOME", self.environment["LANTHORN_HOME"])
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    main(list(arguments))
                except SystemExit as end:
                    exited = end.code
                finally:
                    logger.removeHandler(warnings)
        assert exited == code, f"{arguments}: {exited}: {out.getvalue()}{err.getvalue()}"
        return Done(out.getvalue(), err.getvalue())

    def lock(self, name: str = "classify") -> Path:
        """Write the lock of a small job, once for each name."""
        path = self.folder / f"{name}.lock"
        if not path.exists():
            path.write_text(tomli_w.dumps(job_values(self.home.pin(), name=name)))
        return path

    def loaded(self, name: str = "classify") -> Lock:
        return load_lock(self.lock(name))

    def platform(self) -> SimulatedPlatform:
        return SimulatedPlatform(self.simulator)

    def attester(self, name: str = "classify") -> SimulatedTDX:
        """Return the simulated platform, rebooted and bound to a lock."""
        self.platform().reboot()
        attester = SimulatedTDX(self.simulator)
        attester.bind(self.loaded(name).digest)
        return attester

    def policy(self, *, root: str = "", extra: str = "", name: str = "classify") -> Path:
        """Write a policy file for a lock on the simulated platform."""
        path = self.folder / "policy.toml"
        path.write_text(
            f"""version = 1
[anchors.sim]
kind = "simulated"
root = "{root or self.simulator / "root.pem"}"
collateral = "{self.simulator / "collateral.json"}"
[[rule]]
name = "lab"
locks = ["{self.loaded(name).digest.hex()}"]
tees = ["tdx"]
anchors = ["sim"]
tcb_statuses = ["UpToDate"]
insecure_allow_simulated = true
{extra}
"""
        )
        return path

    def log(self) -> list[dict[str, Any]]:
        lines = self.run("broker", "log", "--json").stdout.splitlines()
        return [json.loads(line) for line in lines]

    @contextlib.contextmanager
    def serving(self) -> Iterator[Served]:
        """Run the real server on a free port of the loopback until the block ends."""
        with open(self.folder / "server.log", "a") as errors:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-W",
                    "error",
                    "-m",
                    "lanthorn",
                    "broker",
                    "serve",
                    "--address",
                    "127.0.0.1:0",
                ],
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            match = re.fullmatch(r"serving on (https://127\.0\.0\.1:\d+) spki (sha256:[0-9a-f]{64})\n", line)
            assert match, f"{line!r}: {self.server_log()}"
            yield Served(process, match[1], match[2], line)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(timeout=READY_SECONDS)
            process.stdout.close()

    def server_log(self) -> str:
        return (self.folder / "server.log").read_text()

    def client(self, served: Served, name: str = "classify") -> ReleaseClient:
        """Return a client on a freshly booted platform that runs a lock."""
        return ReleaseClient(endpoint(served), self.attester(name))


def endpoint(served: Served, pin: str = "") -> BrokerEndpoint:
    return BrokerEndpoint("home", served.url, (pin or served.pin,))
