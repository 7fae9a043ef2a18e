"""One locked job that runs whatever code its owner encrypts for it, with the real broker, platform and runtime.

The locked script executes the protected input `code.py`, which is floating: a test needs no lock of its own, so a run
takes half a second and not three.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
import venv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lanthorn.keys import Keyring, derive_output_key
from lanthorn.protected import decrypt_file, decrypt_folder, encrypt_file, encrypt_folder

SECONDS = 60
TABLE_SIZE = 1 << 20
MAIN = "exec(compile(open('code.py').read(), 'code.py', 'exec'))\n"
LIBRARY = "ANSWER = 42\n" + "# filling\n" * 40_000
MANIFEST = """\
[job]
name = "lab"
command = ["python", "main.py", "an argument"]
files = ["library.py", "table.bin"]
{stdio}
[environment]
LOCKED = "from the lock"
[[protected]]
path = "code.py"
key = "data"
access = "read"
floating = true
[[protected]]
path = "data.bin"
key = "data"
access = "read"
[[protected]]
path = "folder"
key = "data"
access = "read"
[[protected]]
path = "result.txt"
key = "result"
access = "write"
kind = "file"
[[protected]]
path = "deep/down/result.bin"
key = "result"
access = "write"
kind = "file"
[[protected]]
path = "out"
key = "result"
access = "write"
kind = "folder"
[brokers.home]
url = "https://127.0.0.1:{port}"
spki = ["{pin}"]
"""


@dataclass(frozen=True)
class Ended:
    """How a run ended: its exit code and what the operator saw."""

    code: int
    stdout: str
    stderr: str
    run_id: str = ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Lab:
    """An owner, an operator and a broker in one folder."""

    folder: Path
    stdio: str = ""
    data: bytes = b"".join(number.to_bytes(4, "little") for number in range(50_000))
    broker: subprocess.Popen[bytes] | None = None
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.home = self.folder / "home"
        self.job = self.folder / "job"
        self.environment = {**os.environ, "LANTHORN_HOME": str(self.home), "OPERATORS": "own variable"}

    # Setting up

    def set_up(self) -> None:
        self.job.mkdir(parents=True)
        venv.create(self.folder / "venv", symlinks=True, with_pip=False)
        for name in ("data", "result"):
            Keyring(self.home / "keys").create(name)
        said = self.command(
            "broker", "init", "--address", f"127.0.0.1:{self.port}", "--insecure-allow-simulated"
        )
        pin = re.search(r"sha256:[0-9a-f]{64}", said)
        assert pin
        (self.job / "main.py").write_text(MAIN)
        (self.job / "library.py").write_text(LIBRARY)
        (self.job / "table.bin").write_bytes(bytes(range(256)) * (TABLE_SIZE // 256))
        self.encrypt_inputs()
        manifest = MANIFEST.format(stdio=self.stdio, port=self.port, pin=pin[0])
        (self.job / "lanthorn.toml").write_text(manifest)
        self.command("lock", str(self.job), "--python", str(self.folder / "venv" / "bin" / "python"))
        self.command("broker", "allow", str(self.job / "lanthorn.lock"))
        self.serve()
        shutil.copytree(self.job, self.folder / "pristine", symlinks=True)

    def encrypt_inputs(self) -> None:
        plain = self.folder / "plain"
        (plain / "folder" / "inner" / "empty").mkdir(parents=True)
        (plain / "folder" / "inner" / "b.txt").write_text("bee")
        (plain / "folder" / "a.txt").write_text("ay")
        (plain / "folder" / "link").symlink_to("inner/b.txt")
        (plain / "data.bin").write_bytes(self.data)
        key = Keyring(self.home / "keys").load("data")
        encrypt_file(plain / "data.bin", self.job / "data.bin", key, "data.bin")
        encrypt_folder(plain / "folder", self.job / "folder", key, "folder")
        self.code("pass")

    def serve(self) -> None:
        self.broker = subprocess.Popen(
            [sys.executable, "-m", "lanthorn", "broker", "serve"],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self.broker.stdout
        assert b"serving on" in self.broker.stdout.readline()

    def stop(self) -> None:
        if self.broker:
            assert self.broker.stdout
            self.broker.kill()
            self.broker.wait()
            self.broker.stdout.close()
            self.broker = None

    def command(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "lanthorn", *arguments],
            env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    # Running

    def code(self, text: str) -> None:
        """Encrypt the code that the next run executes."""
        plain = self.folder / "code.py"
        plain.write_text(textwrap.dedent(text))
        encrypt_file(
            plain, self.job / "code.py", Keyring(self.home / "keys").load("data"), "code.py", force=True
        )

    def start(
        self, *arguments: str, code: str | None = None, prefix: tuple[str, ...] = ()
    ) -> subprocess.Popen[str]:
        if code is not None:
            self.code(code)
        return subprocess.Popen(
            [*prefix, sys.executable, "-m", "lanthorn", "run", str(self.job), *arguments],
            env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.folder,
        )  # fmt: skip

    def run(self, code: str | None = None, *arguments: str, prefix: tuple[str, ...] = ()) -> Ended:
        return self.end(self.start(*arguments, code=code, prefix=prefix))

    def end(self, process: subprocess.Popen[str]) -> Ended:
        stdout, stderr = process.communicate(timeout=SECONDS)
        run_id = re.search(r"run ([0-9a-f]{32}) ended", stderr)
        return Ended(process.returncode, stdout, stderr, run_id[1] if run_id else self.last_run_id())

    def last_run_id(self) -> str:
        """Ask the broker's log, as an owner does."""
        rows = [json.loads(line) for line in self.command("broker", "log", "--json").splitlines()]
        ids = [row["run_id"] for row in rows if row["run_id"]]
        return str(ids[-1]) if ids else ""

    def wait_for(self, path: Path) -> None:
        """Wait until the program has put an output in place."""
        deadline = time.monotonic() + SECONDS
        while not path.exists():
            assert time.monotonic() < deadline, f"{path} never came"
            time.sleep(0.01)

    # Reading results

    def read(self, path: str, ended: Ended) -> bytes:
        """Decrypt an output of that run."""
        plain = self.folder / "decrypted"
        key = derive_output_key(Keyring(self.home / "keys").load("result"), ended.run_id, "result")
        decrypt_file(self.job / path, plain, key, path=path, force=True)
        return plain.read_bytes()

    def read_folder(self, path: str, ended: Ended) -> Path:
        plain = self.folder / "decrypted-folder"
        shutil.rmtree(plain, ignore_errors=True)
        key = derive_output_key(Keyring(self.home / "keys").load("result"), ended.run_id, "result")
        decrypt_folder(self.job / path, plain, key, folder=path)
        return plain

    def log(self, ended: Ended) -> str:
        return self.read("run.log", ended).decode()

    def record(self, ended: Ended) -> dict[str, Any]:
        record: dict[str, Any] = json.loads(self.read("run.json", ended))
        return record

    def restore(self) -> None:
        """Undo what a hostile host did."""
        shutil.rmtree(self.job)
        shutil.copytree(self.folder / "pristine", self.job, symlinks=True)


def program_of(run: subprocess.Popen[str]) -> int:
    """Return the process id of the program below a running `lanthorn run`."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        for pid in descendants(run.pid):
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            if command.endswith(b"main.py\0an argument\0") and not command.startswith(b"bwrap"):
                return pid
        time.sleep(0.01)
    raise AssertionError("the program never started")


def descendants(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    children = [int(child) for child in text.split()]
    return children + [below for child in children for below in descendants(child)]


def kill_quietly(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()
