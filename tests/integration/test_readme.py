"""What the README tells a new user to type, typed: in a fresh folder, with a fresh home."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.native.lab import free_port

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
READY_LIMIT = 30.0
_BLOCK = re.compile(r"^<!-- test: (?P<name>\w+) -->\n```\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = {match["name"]: match["text"] for match in _BLOCK.finditer(README)}


def test_six_commands_are_six() -> None:
    assert list(BLOCKS) == ["prepare", "once", "six"]
    assert len(BLOCKS["six"].splitlines()) == 6
    assert "in six commands" in README


class NewUser:
    """Somebody with an empty home, in an empty folder, with `lanthorn` and `python3` on PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        home = folder / "home"
        programs = Path(sys.executable).parent
        self.environment = {
            "HOME": str(home),
            "PATH": f"{programs}:{os.environ['PATH']}",
            "LANTHORN_HOME": str(home / "lanthorn"),
        }
        home.mkdir()

    def types(self, text: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", "-euc", text]
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        return done

    def starts(self, text: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", "-euc", f"exec {text}"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )


@pytest.fixture
def user(tmp_path: Path) -> NewUser:
    return NewUser(tmp_path)


@pytest.fixture
def broker(user: NewUser) -> Iterator[None]:
    """Everything before the six commands. Only the port differs from what is written: another may be taken."""
    user.types(BLOCKS["prepare"])
    init, serve = BLOCKS["once"].splitlines()
    assert serve.endswith(" &")
    address = f"127.0.0.1:{free_port()}"
    user.types(init.replace("broker init", f"broker init --address {address}"))
    process = user.starts(serve.removesuffix(" &"))
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(f"serving on https://{address} ")
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(READY_LIMIT) == 0
        process.stdout.close()


@pytest.mark.fuse
@pytest.mark.usefixtures("broker")
def test_a_first_job_in_six_commands(user: NewUser) -> None:
    *before, run, decrypt = BLOCKS["six"].splitlines()
    user.types("\n".join(before))
    ended = user.types(run)
    assert ended.stdout == "" and "NOT PROTECTED" in ended.stderr
    (run_id,) = re.findall(r"^lanthorn: run ([0-9a-f]{32}) ended with 0$", ended.stderr, re.MULTILINE)
    user.types(decrypt.replace("RUN_ID", run_id))
    assert (user.folder / "result.txt").read_text() == "6 words, the longest is lanthorn\n"
    # The operator's folder has neither the letter nor the answer.
    held = [path.read_bytes() for path in (user.folder / "job").iterdir() if path.is_file()]
    assert not [data for data in held if b"torch alight" in data or b"6 words" in data]
    for name, text in (("run.log", "counted\n"), ("run.json", '"exit_code":0')):
        user.types(decrypt.replace("RUN_ID", run_id).replace("result.txt", name))
        assert text in (user.folder / name).read_text()


def test_links_of_every_document_lead_somewhere() -> None:
    documents = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")]
    broken = []
    for document in documents:
        text = document.read_text(encoding="utf-8")
        links = re.findall(r"\]\(([^)#:]+)\)", text)
        paths = [document.parent / link for link in links]
        # A path in back quotes that begins with a folder of the repository is one, unless it has a placeholder.
        paths += [REPOSITORY / path for path in re.findall(r"`((?:src|tests|docs|scripts)/[^`\s<*]+)`", text)]
        broken += [f"{document.name}: {path}" for path in paths if not path.exists()]
    assert broken == []
