"""Bytecode is a function of source and interpreter alone, and CPython imports it as if it had compiled it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from lanthorn.errors import ManifestError
from lanthorn.job import tree
from lanthorn.job.bytecode import BytecodePack, Source, entries_of, make_pack, pyc_path
from lanthorn.job.interpreter import Interpreter, probe

TRICKY = {
    "names.py": (
        "import sys\n"
        "class A:\n"
        "    __slots__ = ('b', 'c')\n"
        "    def a(self): return {'p', 'q', 'r'} & {1, 'x'}\n"
    ),
    "strings.py": (
        "X = '-'\n"
        "Y = ('', 'é', b'', b'x', 1.5, 2**80, -0.0, 1j, ...)\n"
        "def f(): 'doc'; return X in {'u', 'v', 'w', '-'}\n"
    ),
    "shared.py": "def f():\n    return ('same tuple', 300)\ndef g():\n    return ('same tuple', 300)\n",
    "broken.py": "print 'python 2'\n",
    "empty.py": "",
    "nested.py": (
        "def a(p):\n"
        "    def b(q):\n"
        "        return lambda r: (p, q, r, __file__)\n"
        "    return b\n"
        "raise SystemExit(a(1)(2)(3))\n"
    ),
}


@pytest.fixture(scope="module")
def python() -> Interpreter:
    return probe(Path(sys.executable))


def sources(folder: Path) -> list[Source]:
    folder.mkdir(parents=True)
    made = []
    for name, text in TRICKY.items():
        (folder / name).write_text(text)
        made.append(_source(folder, name))
    return made


def _source(folder: Path, name: str) -> Source:
    path = folder / name
    return Source("environment", name, hashlib.sha256(path.read_bytes()).hexdigest(), str(path))


def stdlib_sources() -> list[Source]:
    folder = Path(sysconfig.get_path("stdlib"))
    return [_source(folder, path.name) for path in sorted(folder.glob("[a-d]*.py"))]


def pack(python: Interpreter, found: list[Source], cache: Path) -> BytecodePack:
    return make_pack(python, found, cache)


def test_same_bytes_from_other_paths_in_other_processes(python: Interpreter, tmp_path: Path) -> None:
    # -I makes each worker ignore PYTHONHASHSEED, so that every run of them has another hash seed.
    here, there = sources(tmp_path / "a"), sources(tmp_path / "quite" / "another" / "place")
    stdlib = stdlib_sources()
    first = pack(python, [*here, *stdlib], tmp_path / "cache-1")
    second = pack(python, [*stdlib, *reversed(there)], tmp_path / "cache-2")
    alone = pack(python, here, tmp_path / "cache-3")
    assert first == second
    entries, lone = entries_of(first.list_bytes), entries_of(alone.list_bytes)
    for key, (offset, size) in lone.items():
        at = entries[key][0]
        assert alone.data[offset : offset + size] == first.data[at : at + size]


def test_the_list_describes_the_pack(python: Interpreter, tmp_path: Path) -> None:
    made = pack(python, sources(tmp_path / "a"), tmp_path / "cache")
    value = json.loads(made.list_bytes)
    assert value["size"] == len(made.data)
    assert value["tree"] == tree.root(tree.leaves_of(made.data)).hex()
    assert made.leaves == tree.leaves_of(made.data)
    names = {path for _, path in entries_of(made.list_bytes)}
    assert pyc_path("broken.py", python.cache_tag) not in names
    assert len(names) == len(TRICKY) - 1


def test_python_imports_it_without_looking_at_the_source(python: Interpreter, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    made = pack(python, sources(folder), tmp_path / "cache")
    for (_, path), (offset, size) in entries_of(made.list_bytes).items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(made.data[offset : offset + size])
    # The source changed but the bytecode is what runs; its file name is where the source is.
    (folder / "shared.py").write_text("raise SystemExit('the source was compiled')")
    script = (
        "import shared, names, strings, empty; "
        "assert names.A().a() == set(); assert strings.f(); assert strings.Y[-2] == 1j; "
        "print(shared.f.__code__.co_filename, shared.f())"
    )
    command = [sys.executable, "-B", "-c", script]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout == f"{folder}/shared.py ('same tuple', 300)\n"


def test_the_cache_is_used_and_checked(python: Interpreter, tmp_path: Path) -> None:
    found, cache = sources(tmp_path / "a"), tmp_path / "cache"
    first = pack(python, found, cache)
    entries = [path for path in cache.rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in entries}
    assert pack(python, found, cache) == first
    assert {path: path.stat().st_mtime_ns for path in entries} == before
    for path in entries:
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    assert pack(python, found, cache) == first


def test_a_source_that_changed_meanwhile_is_refused(python: Interpreter, tmp_path: Path) -> None:
    found = sources(tmp_path / "a")
    (tmp_path / "a" / "shared.py").write_text("x = 1\n")
    with pytest.raises(ManifestError, match="changed while it was locked"):
        pack(python, found, tmp_path / "cache")


@pytest.mark.parametrize(
    ("source", "expected"),
    [("a.py", "__pycache__/a.tag.pyc"), ("p/__init__.py", "p/__pycache__/__init__.tag.pyc")],
)
def test_pyc_paths(source: str, expected: str) -> None:
    assert pyc_path(source, "tag") == expected
