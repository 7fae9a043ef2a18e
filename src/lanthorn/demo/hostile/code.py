"""Attempts on the program: its script, its libraries before and while it runs, its arguments and environment."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from lanthorn.attestation.evidence import rtmr3_for_lock
from lanthorn.demo.copies import flip_bit, flip_bit_in_place, look_alike
from lanthorn.demo.failure import DemoFailedError
from lanthorn.demo.hostile.attempt import Attempt, Outcome, of
from lanthorn.demo.jobs import CHUNK_READ, SCRIPT
from lanthorn.demo.parties import TIMEOUT_SECONDS
from lanthorn.demo.stage import Machine, Stage
from lanthorn.job.lock import load_lock

# The broker's log shows this much of a measurement.
_LOGGED_DIGITS = 20
# What a person may have set in a shell; none of it is the job's.
SHELL = {"MODEL_COPY_TO": "/tmp/stolen", "PYTHONBREAKPOINT": "os.system", "OMP_NUM_THREADS": "1"}  # noqa: S108 - a bait


def attempts() -> list[Attempt]:
    differs = r"differs from the lock at byte \d+: expected chunk hash [0-9a-f]{64}, found [0-9a-f]{64}$"
    broker = r"^broker home refused the attestation: evidence-refused$"
    other_lock = r"lock mismatch"
    return [
        Attempt("one byte changed in the script", _script_changed, rf"{SCRIPT} {differs}"),
        Attempt(
            "one byte changed in a library before the start",
            _library(flip_bit_at_end),
            rf"^numpy \S+: \S+ {differs}",
        ),
        Attempt("a library withheld", _library(Path.unlink), r"^numpy .* is named by the lock but withheld"),
        Attempt("one byte changed in a library between two reads", _between_reads, differs),
        Attempt("other arguments", _arguments, broker, reason=other_lock),
        Attempt("other environment", _environment, broker, reason=other_lock),
        Attempt("variables of the operator's shell", _shell, r"^the program saw none of ", code=0),
    ]


def flip_bit_at_end(path: Path) -> None:
    flip_bit(path, -1)


def _script_changed(stage: Stage) -> Outcome:
    with stage.copy_of_machine() as machine:
        flip_bit(machine.job / SCRIPT, 100)
        return of(machine.run())


def _library(change: Callable[[Path], None]) -> Callable[[Stage], Outcome]:
    """Make an attempt that runs the job from an environment whose numpy was changed."""

    def play(stage: Stage) -> Outcome:
        with stage.copy_of_machine() as machine:
            environment, library = machine.environment_with_own(stage.props, stage.props.early_library())
            change(library)
            return of(machine.run("--environment", environment))

    return play


def _own_library(stage: Stage, machine: Machine) -> tuple[Path, Path]:
    """Return an environment for the second job on this machine, and its library, which has no other name."""
    source = stage.second_job.parent / f"{stage.second_job.name}-environment"
    place = machine.folder / "environment"
    return place, look_alike(source, place, stage.library.relative_to(source))


def _between_reads(stage: Stage) -> Outcome:
    """Change the end of a library after the program has read its beginning."""
    with stage.copy_of_machine() as machine:
        environment, library = _own_library(stage, machine)
        machine.reboot()
        command = machine.run_command("--environment", environment, job=machine.second_job)
        started = time.monotonic()
        process = stage.operator.start(*command)
        if _saw(process, CHUNK_READ):
            flip_bit_in_place(library, -1)
        return of(stage.operator.finish(process, command, started))


def _saw(process: subprocess.Popen[str], line: str) -> bool:
    """Read what is printed up to `line`. A process that prints nothing is killed."""
    watchdog = threading.Timer(TIMEOUT_SECONDS, process.kill)
    watchdog.start()
    try:
        return process.stdout is not None and any(printed.rstrip() == line for printed in process.stdout)
    finally:
        watchdog.cancel()


def _arguments(stage: Stage) -> Outcome:
    return _edited_lock(stage, f'    "{SCRIPT}",\n', f'    "{SCRIPT}",\n    "--verbose",\n')


def _environment(stage: Stage) -> Outcome:
    return _edited_lock(stage, "[job.environment]\n", '[job.environment]\nPYTHONINSPECT = "1"\n')


def _edited_lock(stage: Stage, old: str, new: str) -> Outcome:
    """Change the lock, and reboot so that the platform takes it for the first one it sees.

    The platform attests the lock that it really got: the broker must find that one's register in the quote.
    """
    with stage.copy_of_machine() as machine:
        lock = machine.job / "lanthorn.lock"
        text = lock.read_text(encoding="utf-8")
        if text.count(old) != 1:
            raise DemoFailedError(f"{lock.name} has {text.count(old)} places {old.strip()!r}, expected one")
        lock.unlink()
        lock.write_text(text.replace(old, new), encoding="utf-8")
        machine.reboot()
        done = of(machine.run())
        register = rtmr3_for_lock(load_lock(lock).digest).hex()
        return Outcome(done.code, done.line, f"got {register[:_LOGGED_DIGITS]}")


def _shell(stage: Stage) -> Outcome:
    """Run with variables that the lock does not name; the program prints the names of those it has."""
    with stage.copy_of_machine() as machine:
        machine.reboot()
        environment, _ = _own_library(stage, machine)
        done = machine.run("--environment", environment, job=machine.second_job, extra=SHELL)
        first = done.stdout.partition("\n")[0].split()
        if done.code != 0 or first[:1] != ["variables:"]:
            return of(done)
        got = sorted(SHELL.keys() & set(first))
        return Outcome(
            0, f"the program saw {', '.join(got)}" if got else f"the program saw none of {', '.join(SHELL)}"
        )
