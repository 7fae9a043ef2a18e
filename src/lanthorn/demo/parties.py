"""Owner and operator: each has a folder, a home of its own, and the command line. No other way in."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lanthorn.demo.failure import DemoFailedError

TIMEOUT_SECONDS = 180
MAX_READY_BYTES = 4096
_ERROR = "lanthorn: error: "


@dataclass(frozen=True)
class Finished:
    """A command that ended."""

    words: str
    code: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def error(self) -> str:
        """What it gave as its reason, without the prefix; the last line of stderr if it gave none."""
        lines = self.stderr.splitlines()
        reasons = [line.removeprefix(_ERROR) for line in lines if line.startswith(_ERROR)]
        return (reasons or lines or [f"{self.words} said nothing and ended with {self.code}"])[-1]


class Party:
    """Someone with a folder and a terminal. `terminal` is the capture of all that was printed there."""

    def __init__(self, name: str, folder: Path, *, caches: Path | None = None) -> None:
        self.name = name
        self.folder = folder
        self.home = folder / "home"
        self.terminal = folder / "terminal.txt"
        self._caches = caches
        self._lock = threading.Lock()
        for made in (folder, self.home, folder / "tmp"):
            made.mkdir(parents=True, exist_ok=True)

    def lanthorn(
        self, *arguments: str | Path, cwd: Path | None = None, extra: Mapping[str, str] | None = None
    ) -> Finished:
        """Run the command line and wait for its end, whatever that is."""
        started = time.monotonic()
        process = self.start(*arguments, cwd=cwd, extra=extra)
        return self.finish(process, arguments, started)

    def must(self, *arguments: str | Path, cwd: Path | None = None) -> Finished:
        """Run what has to succeed. Raises `DemoFailedError` with the command's own reason."""
        return succeeded(self.name, self.lanthorn(*arguments, cwd=cwd))

    def start(
        self, *arguments: str | Path, cwd: Path | None = None, extra: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(  # noqa: S603 - our own command line
            [sys.executable, "-m", "lanthorn", *map(str, arguments)],
            cwd=cwd or self.folder,
            env={**self.environment(), **(extra or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )

    def finish(
        self, process: subprocess.Popen[str], arguments: tuple[str | Path, ...], started: float
    ) -> Finished:
        words = " ".join(["lanthorn", *(Path(word).name for word in arguments[:2])])
        try:
            stdout, stderr = process.communicate(timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise DemoFailedError(f"{words} did not end within {TIMEOUT_SECONDS} s") from error
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
        self.record(f"$ lanthorn {' '.join(map(str, arguments))}\n{stdout}{stderr}")
        return Finished(words, process.returncode, stdout, stderr, time.monotonic() - started)

    def record(self, text: str) -> None:
        """Add to the capture of this party's terminal."""
        with self._lock, open(self.terminal, "a", encoding="utf-8") as file:
            file.write(text)

    def environment(self) -> dict[str, str]:
        """Return all that a command of this party inherits: nothing of whoever started the demo but PATH."""
        variables = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.home),
            "LANTHORN_HOME": str(self.home / "lanthorn"),
            "TMPDIR": str(self.folder / "tmp"),
            "LANG": "C.UTF-8",
        }
        return variables | ({"XDG_CACHE_HOME": str(self._caches)} if self._caches else {})


def succeeded(who: str, finished: Finished) -> Finished:
    if finished.code != 0:
        raise DemoFailedError(f"{who}: {finished.words} ended with {finished.code}: {finished.error}")
    return finished


class Serving:
    """A broker that is being served. `url` is where; everything it prints goes to `log`."""

    def __init__(self, party: Party, folder: Path, log: Path) -> None:
        """Start it on a free port and wait until it accepts connections."""
        ready, theirs = os.pipe()
        words = ("broker", "serve", "--folder", folder, "--address", "127.0.0.1:0", "--ready-fd", theirs)
        try:
            with open(log, "wb") as output:
                self._process = subprocess.Popen(  # noqa: S603 - our own command line
                    [sys.executable, "-m", "lanthorn", *map(str, words)],
                    env=party.environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=(theirs,),
                )
        finally:
            os.close(theirs)
        try:
            self.url = _ready_url(ready, party.name)
        except BaseException:
            self.close()
            raise
        finally:
            os.close(ready)

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _ready_url(ready: int, who: str) -> str:
    if not select.select([ready], [], [], TIMEOUT_SECONDS)[0]:
        raise DemoFailedError(f"{who}: the broker was not ready within {TIMEOUT_SECONDS} s")
    words = os.read(ready, MAX_READY_BYTES).decode("utf-8", "replace").split()
    if words[:2] != ["serving", "on"]:
        raise DemoFailedError(f"{who}: the broker did not start")
    return words[2]
