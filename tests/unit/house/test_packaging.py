"""The wheel, the pinned requirements and what is under version control."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
REQUIREMENTS = sorted((REPOSITORY / "requirements").glob("*.txt"))
_PIN = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;]+)( --hash=sha256:[0-9a-f]{64})+")


def copy_of_the_source(destination: Path, *, mode: int, time: int) -> Path:
    """Return a copy under other conditions: place, permissions, times."""
    destination.mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, destination / name)
    shutil.copytree(
        REPOSITORY / "src",
        destination / "src",
        ignore=shutil.ignore_patterns("__pycache__", ".lanthorn-tmp-*"),
    )
    for path in destination.rglob("*"):
        if path.is_file():
            path.chmod(mode)
            os.utime(path, (time, time))
    return destination


def build(source: Path, **environment: str) -> Path:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "out", "."]
    done = subprocess.run(command, cwd=source, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (source / "out").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("wheels")
    here = copy_of_the_source(folder / "a", mode=0o644, time=1_600_000_000)
    there = copy_of_the_source(folder / "a longer" / "way to b", mode=0o600, time=1_700_000_001)
    return build(here, TZ="UTC", PYTHONHASHSEED="1"), build(there, TZ="Asia/Tokyo", PYTHONHASHSEED="2")


def test_the_wheel_is_the_same_wherever_and_whenever_it_is_built(wheels: tuple[Path, Path]) -> None:
    first, second = wheels
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()


def test_the_wheel_holds_the_package_and_nothing_of_this_machine(wheels: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(wheels[0]) as wheel:
        names = wheel.namelist()
        contents = b"\n".join(wheel.read(name) for name in names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"lanthorn"}
    assert "lanthorn/py.typed" in names and "lanthorn/errors.py" in names
    parts = {part for name in names for part in name.split("/")}
    assert not [part for part in parts if part in ("tests", "__pycache__") or part.startswith("test_")]
    for place in (str(REPOSITORY), str(Path.home()) + "/", str(wheels[0].parent)):
        assert place.encode() not in contents


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
def test_every_requirement_is_pinned_by_hash_and_names_no_place(path: Path) -> None:
    entries = pins(path)
    assert entries, "no requirement in the file"
    text = path.read_text(encoding="utf-8")
    assert "://" not in text and "index" not in _options(text) and "links" not in _options(text)


def pins(path: Path) -> dict[str, str]:
    """Return name and version of each requirement; fails for a line that is not a pin with a hash."""
    joined = path.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [re.sub(r"\s+", " ", line).strip() for line in joined.splitlines()]
    found = {}
    for line in lines:
        if line and not line.startswith("#"):
            match = _PIN.fullmatch(line)
            assert match, f"{path.name}: not a pin with a hash: {line[:80]}"
            found[match["name"].lower()] = match["version"]
    return found


def _options(text: str) -> str:
    return " ".join(line for line in text.splitlines() if line.startswith("-"))


def test_the_runtime_is_tested_with_the_versions_it_is_installed_with() -> None:
    development, runtime = (pins(REPOSITORY / "requirements" / name) for name in ("dev.txt", "runtime.txt"))
    assert {name: development.get(name) for name in runtime} == runtime


def test_every_dependency_of_the_package_is_pinned() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {re.match(r"[A-Za-z0-9._-]+", line)[0].lower() for line in project["dependencies"]}  # type: ignore[index]
    assert names <= set(pins(REPOSITORY / "requirements" / "runtime.txt"))


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    if not (REPOSITORY / ".git").exists():
        pytest.skip("not a checkout: there is no list of tracked files")
    command = ["git", "-C", str(REPOSITORY), "ls-files", "-z"]
    listed = subprocess.run(command, capture_output=True, check=True).stdout
    paths = [REPOSITORY / os.fsdecode(name) for name in listed.split(b"\0") if name]
    return [path for path in paths if path.is_file()]


def test_nothing_ignored_is_tracked(tracked: list[Path]) -> None:
    command = ["git", "-C", str(REPOSITORY), "ls-files", "--cached", "--ignored", "--exclude-standard"]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b""
    assert REPOSITORY / "pyproject.toml" in tracked


def test_no_file_names_a_registry_or_a_place_of_this_machine(tracked: list[Path]) -> None:
    # Written in pieces, because this file is looked at too.
    words = ["py" + "pi.org", "python" + "hosted.org", str(REPOSITORY) + "/", str(Path.home()) + "/.pyenv"]
    found = [
        f"{path.relative_to(REPOSITORY)}: {word}"
        for path in tracked
        for word in words
        if word.encode() in path.read_bytes()
    ]
    assert found == []


def test_nothing_is_left_to_do_in_the_sources(tracked: list[Path]) -> None:
    marks = re.compile(rb"\b(TO" + rb"DO|FIX" + rb"ME|XX" + rb"X)\b")
    sources = [path for path in tracked if path.suffix in {".py", ".sh", ".md", ".toml"}]
    assert [str(path) for path in sources if marks.search(path.read_bytes())] == []
