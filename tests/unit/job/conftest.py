"""A small job with a small environment and a small copy of an interpreter: locking takes a moment."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

from lanthorn.job.changes import Change, changes
from lanthorn.job.lock import LOCK_NAME, STORE_NAME, Lock, load_lock
from lanthorn.job.locking import Draft, draft_lock
from lanthorn.job.manifest import load_job
from lanthorn.job.store import LockStore

MANIFEST = """\
[job]
name = "small"
command = ["python", "main.py", "--fast"]
files = ["lib/*.py"]
[environment]
OMP_NUM_THREADS = "2"
[[protected]]
path = "photo.png"
key = "photo"
access = "read"
[[protected]]
path = "result.txt"
key = "result"
access = "write"
[brokers.home]
url = "https://127.0.0.1:8443"
spki = ["sha256:{pin}"]
""".replace("{pin}", "ab" * 32)

STDLIB = ("os.py", "stat.py", "codecs.py", "encodings", "re", "json")


def encrypted(filler: int) -> bytes:
    """Bytes with a protected file's header: what locking reads without a key."""
    return b"GRAFS_PF\x02\x00" + bytes([filler]) * 4086


def record_line(site: Path, path: Path) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).rstrip(b"=").decode()
    return f"{path.relative_to(site)},sha256={digest},{path.stat().st_size}"


def install(site: Path, name: str, version: str, files: dict[str, str]) -> None:
    """Install a distribution as pip would, generated files included."""
    info = site / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nName: not this\n"
    )
    for path, text in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
    lines = [record_line(site, site / path) for path in files] + [record_line(site, info / "METADATA")]
    (info / "INSTALLER").write_text("pip\n")
    (info / "RECORD").write_text(
        "\n".join([*lines, f"{info.name}/INSTALLER,,", f"{info.name}/RECORD,,"]) + "\n"
    )


@dataclass
class Workshop:
    """A job's folder, its environment, a copy of an interpreter's installation, and a cache of bytecode."""

    folder: Path
    environment: Path
    interpreter: Path
    cache: Path

    @property
    def site(self) -> Path:
        return next((self.environment / "lib").glob("python*/site-packages"))

    @property
    def stdlib(self) -> Path:
        return next((self.interpreter / "lib").glob("python*"))

    @property
    def store(self) -> Path:
        return self.folder / STORE_NAME

    def draft(self) -> Draft:
        python = self.environment / "bin" / "python"
        return draft_lock(load_job(self.folder), self.cache, python=python, interpreter=self.interpreter)

    def lock(self) -> Lock:
        self.draft().write(self.folder / LOCK_NAME, LockStore(self.store))
        return self.load()

    def load(self) -> Lock:
        return load_lock(self.folder / LOCK_NAME)

    def changes(self) -> list[Change]:
        return changes(self.load(), LockStore(self.store), self.draft())

    def edit(self, old: str, new: str) -> None:
        path = self.folder / "lanthorn.toml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))


def copy_tree(source: Path, target: Path) -> Path:
    shutil.copytree(source, target, symlinks=True)
    return target


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """The workshop that the others are copies of."""
    top = tmp_path_factory.mktemp("original")
    base, environment, folder = top / "base", top / "env", top / "job"
    venv.create(environment, symlinks=True, with_pip=False)
    probe = "import json, os, sys; print(json.dumps([sys.base_prefix, os.path.realpath(sys.executable)]))"
    asked = subprocess.run(
        [environment / "bin" / "python", "-I", "-c", probe], capture_output=True, check=True
    )
    prefix, executable = map(Path, json.loads(asked.stdout))
    _copy(executable, base / executable.relative_to(os.path.realpath(prefix)))
    stdlib = Path(sysconfig.get_path("stdlib"))
    for name in STDLIB:
        _copy(stdlib / name, base / stdlib.relative_to(prefix) / name)
    workshop = Workshop(folder, environment, base, tmp_path_factory.mktemp("cache"))
    install(
        workshop.site,
        "fakelib",
        "1.0",
        {"fakelib/__init__.py": "VALUE = {'a', 'b'}\n", "fakelib/data.bin": "x" * 70000},
    )
    install(
        workshop.site, "other", "2.4.6", {"other.py": "def f(x, *, y='é'):\n    return x in {'q', 'r'}\n"}
    )
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "helper.py").write_text("HELP = 1\n")
    (folder / "main.py").write_text("import fakelib\nprint(fakelib.VALUE)\n")
    (folder / "photo.png").write_bytes(encrypted(1))
    (folder / "lanthorn.toml").write_text(MANIFEST)
    return workshop


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "test*"))
    else:
        shutil.copy2(source, target)


@pytest.fixture
def workshop(original: Workshop, tmp_path: Path) -> Workshop:
    return copy_workshop(original, tmp_path / "one")


def copy_workshop(original: Workshop, target: Path) -> Workshop:
    return Workshop(
        copy_tree(original.folder, target / "job"),
        copy_tree(original.environment, target / "somewhere" / "env"),
        copy_tree(original.interpreter, target / "base"),
        original.cache,
    )


@pytest.fixture
def copies(original: Workshop, tmp_path: Path) -> list[Workshop]:
    """Two copies at unlike paths."""
    return [copy_workshop(original, tmp_path / name) for name in ("one", "quite/another-place")]


@pytest.fixture(scope="session")
def python_name() -> str:
    return f"python{sys.version_info.major}.{sys.version_info.minor}"
