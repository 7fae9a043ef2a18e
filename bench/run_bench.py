"""The whole of `lanthorn run` against plain Python: a job that does nothing, and an AlexNet-shaped model of 244 MB.

Everything counts: start, attestation, release, mount, sandbox, program, outputs, tear-down, with the broker and the
simulated platform on the same two cores. Plain and protected runs take turns, and the ratio is taken pair by pair.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.figures import Figure, figure
from lanthorn.keys import Keyring
from lanthorn.protected import encrypt_file

PYTHON = Path(".venv-demo/bin/python").absolute()
PLAIN = "plain Python, the same script and files"
NOTHING = "open('result.txt', 'w').write('done')\n"
ALEXNET = """
import torch
from torch import nn

class AlexNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2))
        self.classifier = nn.Sequential(
            nn.Linear(9216, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000))

    def forward(self, x):
        return self.classifier(torch.flatten(self.features(x), 1))
"""
CLASSIFY = """
from model import AlexNet
import torch
model = AlexNet()
model.load_state_dict(torch.load('model.pth'))
model.eval()
with torch.no_grad():
    scores = model(torch.load('input.pt'))
open('result.txt', 'w').write(repr(scores.topk(5).indices.tolist()))
"""
MAKE = """
from model import AlexNet
import torch
torch.manual_seed(0)
torch.save(AlexNet().state_dict(), 'model.pth')
torch.save(torch.randn(1, 3, 224, 224), 'input.pt')
"""
JOB = """
[job]
name = "bench"
command = ["python", "main.py"]
files = ["model.py"]
python = "{python}"
[environment]
OMP_NUM_THREADS = "2"
"""
ENTRY = """
[[protected]]
path = "{path}"
key = "bench"
access = "{access}"
kind = "file"
"""


def run(samples: int) -> list[Figure]:
    """Return the fixed cost in seconds over plain Python, and the ratio of whole runs of the 244 MB model."""
    with TemporaryDirectory(prefix="lanthorn-bench-") as folder, _operator(Path(folder)) as operator:
        fixed = operator.pairs("fixed", NOTHING, [], samples)
        model = operator.pairs("model", CLASSIFY, ["model.pth", "input.pt"], samples)
    return [
        figure("run_fixed_seconds", [ours - plain for ours, plain in fixed], "s", "<= 0.4", PLAIN),
        figure("run_244mb_vs_native", [ours / plain for ours, plain in model], "ratio", "<= 1.25", PLAIN),
        figure("run_244mb_seconds", [ours for ours, _ in model], "s", "", PLAIN),
        figure("native_244mb_seconds", [plain for _, plain in model], "s", "", ""),
    ]


class _Operator:
    """An owner's and operator's whole set-up in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = {**os.environ, "LANTHORN_HOME": str(folder / "home"), "OMP_NUM_THREADS": "2"}
        self._port = _free_port()
        Keyring(folder / "home" / "keys").create("bench")
        said = self._lanthorn(
            "broker", "init", "--address", f"127.0.0.1:{self._port}", "--insecure-allow-simulated"
        )
        self._broker = said[said.index("[brokers") :]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lanthorn", "broker", "serve"],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def pairs(self, name: str, script: str, inputs: list[str], samples: int) -> list[tuple[float, float]]:
        """Time protected and plain runs of one job in turn, after one of each to warm up."""
        plain, job = self._folder / name / "plain", self._folder / name / "job"
        self._make(plain, job, script, inputs)
        timed = [(self._protected(job), self._plain(plain)) for _ in range(samples + 1)]
        return timed[1:]

    def _make(self, plain: Path, job: Path, script: str, inputs: list[str]) -> None:
        for folder in (plain, job):
            folder.mkdir(parents=True)
            (folder / "main.py").write_text(script)
            (folder / "model.py").write_text(ALEXNET)
        if inputs:
            subprocess.run([PYTHON, "-c", MAKE], cwd=plain, check=True)
        key = Keyring(self._folder / "home" / "keys").load("bench")
        for path in inputs:
            encrypt_file(plain / path, job / path, key, path)
        entries = [ENTRY.format(path=path, access="read") for path in inputs]
        entries.append(ENTRY.format(path="result.txt", access="write"))
        (job / "lanthorn.toml").write_text(JOB.format(python=PYTHON) + "".join(entries) + self._broker)
        self._lanthorn("lock", str(job))
        self._lanthorn("broker", "allow", str(job / "lanthorn.lock"))
        self._lanthorn("simulator", "reboot")

    def _protected(self, job: Path) -> float:
        return self._timed([sys.executable, "-m", "lanthorn", "run", str(job)], self._folder)

    def _plain(self, plain: Path) -> float:
        return self._timed([str(PYTHON), "main.py"], plain)

    def _timed(self, command: list[str], folder: Path) -> float:
        start = time.perf_counter()
        subprocess.run(command, env=self._environment, cwd=folder, check=True, capture_output=True)
        return time.perf_counter() - start

    def _lanthorn(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "lanthorn", *arguments],
            env=self._environment, check=True, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout


@contextlib.contextmanager
def _operator(folder: Path) -> Iterator[_Operator]:
    operator = _Operator(folder)
    try:
        first = operator.process.stdout.readline() if operator.process.stdout else b""
        if not re.search(rb"serving on", first):
            raise SystemExit("bench: the broker did not start")
        yield operator
    finally:
        operator.process.kill()
        operator.process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
