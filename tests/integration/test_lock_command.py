"""`lanthorn lock` as a person uses it: a subprocess, its words, its exit codes, its files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from lanthorn.job.lock import load_lock
from lanthorn.job.view import FileNode, FolderNode, LinkNode, LiteralNode, SliceNode, View, assemble

from ..conftest import REPOSITORY

DEMO_PYTHON = REPOSITORY / ".venv-demo" / "bin" / "python"
MANIFEST = """\
[job]
name = "hello"
command = ["python", "hello.py"]
stdio = "operator"
"""


@pytest.fixture(scope="session")
def cache() -> Path:
    """A cache of bytecode that outlives the tests: compiling PyTorch takes a quarter of a minute."""
    folder = REPOSITORY / "build" / "test-cache"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A locked job with an environment inside its folder."""
    folder = tmp_path_factory.mktemp("job")
    venv.create(folder / ".venv", symlinks=True, with_pip=False)
    (folder / "lanthorn.toml").write_text(MANIFEST)
    (folder / "hello.py").write_text("import json, sys\nprint(json.dumps([sys.prefix, json.__cached__]))\n")
    assert lanthorn(cache, "lock", str(folder)).returncode == 0
    return folder


def lanthorn(cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lanthorn", *arguments]
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_lock_prints_each_root_and_the_digest(job: Path, cache: Path) -> None:
    done = lanthorn(cache, "lock", str(job))
    assert (done.returncode, done.stderr) == (0, "")
    lock = load_lock(job / "lanthorn.lock")
    for root in lock.roots.values():
        assert root.digest in done.stdout
    assert done.stdout.splitlines()[-1] == f"lock {lock.digest.hex()}"
    assert 'environment = ".venv"' in (job / "lanthorn.lock").read_text()


def test_check_agrees_then_names_the_difference(job: Path, cache: Path, tmp_path: Path) -> None:
    assert lanthorn(cache, "lock", "--check", str(job)).returncode == 0
    copy = tmp_path / "copy"
    shutil.copytree(job, copy, symlinks=True)
    (copy / "hello.py").write_text("print('bye')\n")
    before = (copy / "lanthorn.lock").read_bytes()
    done = lanthorn(cache, "lock", "--check", str(copy))
    assert done.returncode == 20
    assert done.stdout.startswith("job: job: 1 file differs: hello.py (sha256 ")
    assert done.stderr.startswith("lanthorn: error: ")
    assert (copy / "lanthorn.lock").read_bytes() == before
    said = json.loads(lanthorn(cache, "lock", "--check", "--json", str(copy)).stdout)
    assert said["matches"] is False
    assert [change["part"] for change in said["changes"]] == ["job"]


def test_an_owner_checks_with_copies_elsewhere(job: Path, cache: Path, tmp_path: Path) -> None:
    owner, environment, files = tmp_path / "owner", tmp_path / "env", tmp_path / "files"
    owner.mkdir()
    for name in ("lanthorn.toml", "lanthorn.lock"):
        shutil.copy(job / name, owner / name)
    shutil.copytree(job / "lanthorn.lock.d", owner / "lanthorn.lock.d")
    files.mkdir()
    shutil.copy(job / "hello.py", files)
    shutil.copytree(job / ".venv", environment, symlinks=True)
    options = ["--job", str(files), "--python", str(environment / "bin" / "python")]
    done = lanthorn(cache, "lock", "--check", *options, str(owner))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("manifest", "code", "words"),
    [
        ("[job]\nname = 1\n", 2, "lanthorn.toml: [job]"),
        (MANIFEST + "colour = 1\n", 2, "unknown key 'colour'"),
        (MANIFEST.replace('"hello.py"]', '"hello.py"]\npython = "nowhere/python"'), 2, "does not run"),
        (MANIFEST.replace('"hello.py"]', '"hello.py"]\nfiles = ["*.csv"]'), 20, "matches no file"),
        (None, 3, "no such file"),
    ],
)
def test_errors_are_one_line_with_their_code(
    manifest: str | None, code: int, words: str, tmp_path: Path, cache: Path
) -> None:
    (tmp_path / "hello.py").write_text("")
    if manifest is not None:
        (tmp_path / "lanthorn.toml").write_text(manifest)
    options = [] if manifest and "nowhere" in manifest else ["--python", sys.executable]
    done = lanthorn(cache, "lock", *options, str(tmp_path))
    assert done.returncode == code
    assert words in done.stderr
    assert [line for line in done.stderr.splitlines() if not line.startswith("lanthorn: ")] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["hello.py"] + (["lanthorn.toml"] if manifest is not None else [])
    )


def test_a_damaged_lock_is_refused_by_check(job: Path, cache: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(job, copy, symlinks=True)
    text = (copy / "lanthorn.lock").read_text()
    (copy / "lanthorn.lock").write_text(text.replace("[job.python]", "[job.pyhton]"))
    done = lanthorn(cache, "lock", "--check", str(copy))
    assert done.returncode == 20
    assert "lanthorn.lock" in done.stderr


def write_out(view: View, folder: Path) -> None:
    """Write a view as real files, checking each: what the runtime serves, without a runtime."""
    for path, node in sorted(view.nodes.items()):
        target = Path(f"{folder}{path}")
        match node:
            case FolderNode():
                target.mkdir(exist_ok=True)
            case LinkNode():
                target.symlink_to(node.target)
            case LiteralNode():
                target.write_bytes(node.data)
            case SliceNode():
                with open(node.pack.host, "rb") as file:
                    target.write_bytes(os.pread(file.fileno(), node.size, node.offset))
            case FileNode():
                node.verified_leaves()
                shutil.copyfile(node.host, target)
                target.chmod(node.mode)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("chroot"), reason="chroot needs root")
def test_the_program_runs_with_nothing_but_the_view(job: Path, tmp_path: Path) -> None:
    view = assemble(load_lock(job / "lanthorn.lock"), job / "lanthorn.lock.d", {})
    write_out(view, tmp_path)
    script = (
        "import hashlib, json, ssl, sqlite3, ctypes, decimal, lzma, bz2, zlib, asyncio, sys; "
        "print(json.dumps([sys.prefix, sys.base_prefix, json.__cached__, ctypes.CDLL(None).getpid() > 0]))"
    )
    command = [str(shutil.which("chroot")), str(tmp_path), view.program, "-B", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env={}, check=False)
    assert done.returncode == 0, done.stderr
    prefix, base, cached, called = json.loads(done.stdout)
    assert (prefix, called) == (f"{job}/.venv", True)
    assert cached in view.nodes
    assert cached.startswith(base)


@pytest.mark.torch
def test_a_torch_environment_is_locked_whole(cache: Path, tmp_path: Path) -> None:
    if not DEMO_PYTHON.exists():
        pytest.skip("no .venv-demo: run `make demo-env`")
    (tmp_path / "lanthorn.toml").write_text(MANIFEST)
    (tmp_path / "hello.py").write_text("import torch\n")
    done = lanthorn(cache, "lock", "--json", "--python", str(DEMO_PYTHON), str(tmp_path))
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    names = {group["name"] for group in said["distributions"]["environment"]}
    assert {"torch", "numpy", "pillow"} <= names
    assert [text for text in said["warnings"] if "RECORD" in text] == []
    view = assemble(load_lock(tmp_path / "lanthorn.lock"), tmp_path / "lanthorn.lock.d", {})
    library = next(node for path, node in view.nodes.items() if path.endswith("/libtorch_cpu.so"))
    assert isinstance(library, FileNode)
    assert library.name.startswith("torch 2.13.0")
    library.verified_leaves()
