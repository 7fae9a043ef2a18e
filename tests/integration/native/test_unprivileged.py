"""The same run as an ordinary user, in a user namespace. Where /dev/fuse is root's alone, a copy of it is not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.native.lab import SECONDS, Ended, Lab

pytestmark = [
    pytest.mark.fuse,
    pytest.mark.skipif(os.getuid() != 0, reason="not root: every other test of this folder is this test"),
]

NOBODY = 65534


@pytest.fixture
def user(lab: Lab) -> Iterator[Path]:
    """A folder of an ordinary user with the operator's half of the lab."""
    folder = Path(tempfile.mkdtemp(prefix="lanthorn-user-"))
    lab.code(
        "import os; open('result.txt', 'w').write(str(sum(open('data.bin', 'rb').read()))); print(os.getuid())"
    )
    shutil.copytree(lab.job, folder / "job", symlinks=True)
    shutil.copytree(lab.home / "simulator", folder / "home" / "simulator")
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(folder)], check=True)
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def hidden_ancestor(path: Path) -> Path | None:
    """Return the topmost folder above `path` that only root may enter."""
    return next((parent for parent in reversed(path.parents) if not parent.stat().st_mode & 0o001), None)


def show_interpreter(user: Path) -> str:
    """Shell lines that make the interpreter reachable in a private mount table, were it under /root."""
    prefix = Path(sys.base_prefix)
    hidden = hidden_ancestor(prefix)
    if hidden is None:
        return ""
    return f"""
        mkdir {user}/python && mount --bind {prefix} {user}/python
        mount -t tmpfs -o mode=755 none {hidden}
        mkdir -p {prefix} && mount --bind {user}/python {prefix}
        """


def run_as_nobody(lab: Lab, user: Path) -> Ended:
    script = f"""
        set -e
        {show_interpreter(user)}
        mkdir {user}/dev && touch {user}/dev/fuse && mknod -m 666 {user}/dev/node c 10 229
        mount --bind {user}/dev/node /dev/fuse
        cd {user} && exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups "$@"
        """
    arguments = [
        sys.executable,
        "-m",
        "lanthorn",
        "run",
        str(user / "job"),
        "--environment",
        str(user / "venv"),
    ]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", *arguments],
        env={**lab.environment, "LANTHORN_HOME": str(user / "home"), "HOME": str(user)},
        capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout, done.stderr, lab.last_run_id())


def test_ordinary_user_runs_the_job(lab: Lab, user: Path) -> None:
    ended = run_as_nobody(lab, user)
    assert ended.code == 0, ended.stderr
    for name in ("result.txt", "run.log"):
        assert (user / "job" / name).stat().st_uid == NOBODY
        shutil.copy(user / "job" / name, lab.job / name)
    assert lab.read("result.txt", ended) == str(sum(lab.data)).encode()
    assert lab.log(ended) == "1000\n"


def test_ordinary_user_is_protected_from_a_changed_file_too(lab: Lab, user: Path) -> None:
    (user / "job" / "main.py").write_text("print('changed')")
    ended = run_as_nobody(lab, user)
    assert ended.code == 125
    assert "main.py differs from the lock" in ended.stderr
