"""Runs that end early: signals, kills, a broker that is away or says no. Nothing is lost, nothing half written."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.integration.native.lab import Lab, descendants, program_of

pytestmark = pytest.mark.fuse

# Writes half of a new result, says so, and waits.
HALF = """
import os, time
file = open('result.txt', 'wb', buffering=0)
file.write(b'half of it')
open('deep/down/result.bin', 'w').write('go')
time.sleep(60)
"""


def temporary_files(lab: Lab) -> list[str]:
    return [path.name for path in lab.job.rglob(".lanthorn-tmp-*")]


@pytest.fixture
def half(lab: Lab) -> Lab:
    (lab.job / "result.txt").write_bytes(b"yesterday's")
    return lab


def test_interrupt_reaches_the_program_which_ends_as_it_likes(lab: Lab) -> None:
    run = lab.start(
        code="""
        import time
        try:
            open('result.txt', 'w').write('go')
            time.sleep(60)
        except KeyboardInterrupt:
            open('deep/down/result.bin', 'w').write('tidied up')
            raise SystemExit(5)
        """
    )
    lab.wait_for(lab.job / "result.txt")
    run.send_signal(signal.SIGINT)
    ended = lab.end(run)
    assert ended.code == 5
    assert lab.read("deep/down/result.bin", ended) == b"tidied up"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_that_kills_the_program_leaves_the_old_output(half: Lab, number: signal.Signals) -> None:
    run = half.start(code=HALF)
    half.wait_for(half.job / "deep" / "down" / "result.bin")
    run.send_signal(number)
    ended = half.end(run)
    assert ended.code == 128 + number
    assert "Traceback" not in ended.stderr
    if number != signal.SIGINT:  # Python turns SIGINT into an exception and closes its files in good order.
        assert (half.job / "result.txt").read_bytes() == b"yesterday's"
    assert temporary_files(half) == []
    assert half.record(ended)["exit_code"] == 128 + number


def test_second_interrupt_kills_and_publishes_nothing(half: Lab) -> None:
    run = half.start(code="import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n" + HALF)
    half.wait_for(half.job / "deep" / "down" / "result.bin")
    run.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert run.poll() is None
    run.send_signal(signal.SIGINT)
    ended = half.end(run)
    assert ended.code == 137
    assert (half.job / "result.txt").read_bytes() == b"yesterday's"
    assert temporary_files(half) == []


def test_killed_program_leaves_the_old_output(half: Lab) -> None:
    run = half.start(code=HALF)
    half.wait_for(half.job / "deep" / "down" / "result.bin")
    os.kill(program_of(run), signal.SIGKILL)
    ended = half.end(run)
    assert ended.code == 137
    assert (half.job / "result.txt").read_bytes() == b"yesterday's"
    assert half.read("deep/down/result.bin", ended) == b"go"
    assert temporary_files(half) == []


def test_killed_supervisor_takes_everything_down_and_leaves_the_old_output(half: Lab) -> None:
    run = half.start(code=HALF)
    half.wait_for(half.job / "deep" / "down" / "result.bin")
    below = descendants(run.pid)
    run.kill()
    run.communicate()
    deadline = time.monotonic() + 10
    while any(os.path.exists(f"/proc/{pid}") for pid in below):
        assert time.monotonic() < deadline, "something outlived the supervisor"
        time.sleep(0.02)
    assert (half.job / "result.txt").read_bytes() == b"yesterday's"
    # The next run removes what a killed one left, and nothing of one that lives.
    assert half.run("pass").code == 0
    assert temporary_files(half) == []


def test_killed_file_server_ends_the_run(half: Lab) -> None:
    run = half.start(code=HALF)
    half.wait_for(half.job / "deep" / "down" / "result.bin")
    os.kill(descendants(run.pid)[0], signal.SIGKILL)
    ended = half.end(run)
    assert ended.code == 125
    assert "file server" in ended.stderr
    assert (half.job / "result.txt").read_bytes() == b"yesterday's"


def test_killed_sandbox_ends_the_run(half: Lab) -> None:
    run = half.start(code=HALF)
    half.wait_for(half.job / "deep" / "down" / "result.bin")
    sandbox = next(
        pid for pid in descendants(run.pid)[1:] if b"bwrap" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    os.kill(sandbox, signal.SIGKILL)
    ended = half.end(run)
    assert ended.code == 137
    assert (half.job / "result.txt").read_bytes() == b"yesterday's"


def test_broker_that_is_away_is_worth_a_retry(lab: Lab) -> None:
    ended = lab.run("pass", "--broker", "home=https://127.0.0.1:1")
    assert ended.code == 75
    assert "lanthorn: error: " in ended.stderr and "Traceback" not in ended.stderr


def test_second_job_in_one_boot_is_refused_until_reboot(lab: Lab) -> None:
    assert lab.run("pass").code == 0
    lock = lab.job / "lanthorn.lock"
    lock.write_text(lock.read_text().replace("an argument", "another argument"))
    refused = lab.run("pass")
    assert refused.code == 125
    assert "already runs another lock" in refused.stderr and "lanthorn simulator reboot" in refused.stderr
    lab.command("simulator", "reboot")
    denied = lab.run("pass")
    lab.command("simulator", "reboot")
    assert denied.code == 125
    assert "home" in denied.stderr and "broker log" not in denied.stdout


def test_revoked_key_is_not_released(lab: Lab) -> None:
    lab.command("broker", "revoke", str(lab.job / "lanthorn.lock"))
    denied = lab.run("pass")
    lab.command("broker", "allow", str(lab.job / "lanthorn.lock"))
    assert denied.code == 125
    assert lab.run("pass").code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--broker", "home"), "NAME=URL"),
        (("--interpreter", "/nowhere"), "python.* is named by the lock but withheld"),
        (("--environment", "/proc"), "cannot be at /proc"),
        (("--simulator", "/nowhere"), "no simulated platform"),
    ],
)
def test_bad_choices_of_the_operator_get_one_line(lab: Lab, arguments: tuple[str, ...], words: str) -> None:
    ended = lab.run("pass", *arguments)
    assert ended.code == 125, ended.stderr
    errors = [line for line in ended.stderr.splitlines() if line.startswith("lanthorn: error: ")]
    assert len(errors) == 1 and re.search(words, errors[0]), ended.stderr


def test_missing_fuse_is_one_line_with_a_hint(lab: Lab) -> None:
    script = 'mount --bind /dev/null /dev/fuse && exec "$@"'
    ended = lab.run("pass", prefix=("unshare", "-m", "sh", "-c", script, "sh"))
    assert ended.code == 125
    assert "cannot mount the file server" in ended.stderr and "lanthorn doctor" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_missing_bubblewrap_is_one_line_with_a_hint(lab: Lab) -> None:
    lab.code("pass")
    ended = lab.run(prefix=("env", "PATH=/nowhere"))
    assert ended.code == 125
    assert "cannot start bubblewrap" in ended.stderr and "apt-get install bubblewrap" in ended.stderr
