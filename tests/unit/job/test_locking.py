"""Locking: the same on every machine, different in words when anything differs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lanthorn.errors import ManifestError, UsageError
from lanthorn.job.lock import LOCK_NAME
from lanthorn.job.trusted import decode_root

from .conftest import Workshop, encrypted, install


def test_two_copies_at_unlike_paths_have_one_lock(copies: list[Workshop]) -> None:
    first, second = (copy.lock() for copy in copies)
    assert first.digest == second.digest
    assert first.roots == second.roots
    assert first.locations != second.locations
    assert sorted(path.name for path in copies[0].store.iterdir()) == sorted(
        path.name for path in copies[1].store.iterdir()
    )


def test_bytecode_is_the_same_from_a_fresh_cache(workshop: Workshop, tmp_path: Path) -> None:
    before = workshop.lock()
    workshop.cache = tmp_path / "fresh"
    assert workshop.lock().roots["bytecode"] == before.roots["bytecode"]


def test_what_is_locked(workshop: Workshop) -> None:
    lock = workshop.lock()
    assert lock.program == ("environment", "bin/python")
    assert lock.arguments == ("main.py", "--fast")
    assert [(entry.path, entry.kind, bool(entry.version)) for entry in lock.protected] == [
        ("photo.png", "file", True),
        ("result.txt", "file", False),
    ]
    assert lock.roots["job"].files == 2
    listed = decode_root(
        "environment", (workshop.store / f"{lock.roots['environment'].digest}.list").read_bytes()
    )
    assert [group.title for group in listed.groups] == ["fakelib 1.0", "other 2.4.6"]
    system = decode_root("system", (workshop.store / f"{lock.roots['system'].digest}.list").read_bytes())
    names = {file.path.rpartition("/")[2] for file in system.files()}
    assert {"libc.so.6", "libgcc_s.so.1"} <= names


def _byte(workshop: Workshop) -> None:
    (workshop.site / "fakelib" / "data.bin").write_text("x" * 69999 + "y")


def _missing(workshop: Workshop) -> None:
    (workshop.site / "other.py").unlink()


def _extra(workshop: Workshop) -> None:
    (workshop.site / "sitecustomize.py").write_text("print('hello')\n")


def _upgrade(workshop: Workshop) -> None:
    (workshop.site / "other.py").unlink()
    shutil.rmtree(workshop.site / "other-2.4.6.dist-info")
    install(workshop.site, "other", "2.4.5", {"other.py": "old = True\n"})


def _executable(workshop: Workshop) -> None:
    (workshop.site / "other.py").chmod(0o755)


def _stdlib(workshop: Workshop) -> None:
    with open(workshop.stdlib / "stat.py", "a") as file:
        file.write("# changed\n")


def _link(workshop: Workshop) -> None:
    (workshop.site / "fakelib" / "link").symlink_to("data.bin")


CHANGES: list[tuple[Callable[[Workshop], object], str, str]] = [
    (_byte, "environment", "fakelib 1.0: 1 file differs: "),
    (_missing, "environment", "other 2.4.6: 1 file is missing: "),
    (_extra, "environment", "unowned: 1 file is not locked: "),
    (_upgrade, "environment", "other: 2.4.5 here, 2.4.6 locked"),
    (_executable, "environment", "other.py (executable here)"),
    (_stdlib, "interpreter", "1 file differs: "),
    (_link, "environment", "unowned: 1 link is not locked: "),
    (lambda w: (w.folder / "main.py").write_text("x\n"), "job", "job: 1 file differs: main.py (sha256 "),
    (lambda w: (w.folder / "lib" / "more.py").write_text("x\n"), "job", "1 file is not locked: lib/more.py"),
    (
        lambda w: w.edit('"--fast"', '"--slow"'),
        "arguments",
        "['main.py', '--slow'] here, ['main.py', '--fast'] locked",
    ),
    (
        lambda w: w.edit('= "2"', '= "4"'),
        "variables",
        "environment variable OMP_NUM_THREADS: '4' here, '2' locked",
    ),
    (
        lambda w: w.edit("[environment]", '[environment]\nA = "1"'),
        "variables",
        "variable A: '1' here, not locked",
    ),
    (lambda w: w.edit('OMP_NUM_THREADS = "2"', ""), "variables", "absent here, '2' locked"),
    (
        lambda w: (w.folder / "photo.png").write_bytes(encrypted(2)),
        "protected",
        "protected photo.png: version ",
    ),
    (lambda w: w.edit('path = "result.txt"', 'path = "r.txt"'), "protected", "r.txt: here, not locked"),
    (
        lambda w: w.edit('access = "read"', 'access = "read"\nfloating = true'),
        "protected",
        "floating True here",
    ),
    (lambda w: w.edit("abab", "cdcd"), "brokers", "broker home: 'sha256:cdcd"),
    (
        lambda w: w.edit('name = "small"', 'name = "big"\nstdio = "operator"'),
        "stdio",
        "'operator' here, 'protected' locked",
    ),
]


@pytest.mark.parametrize(("change", "part", "words"), CHANGES)
def test_differences_are_said_in_words(
    workshop: Workshop, change: Callable[[Workshop], object], part: str, words: str
) -> None:
    workshop.lock()
    assert workshop.changes() == []
    change(workshop)
    found = workshop.changes()
    assert any(said.part == part and words in said.text for said in found), found


def test_only_what_changed_is_named(workshop: Workshop) -> None:
    workshop.lock()
    _upgrade(workshop)
    said = {change.part: change.text for change in workshop.changes()}
    assert said == {
        "environment": "environment: other: 2.4.5 here, 2.4.6 locked",
        "bytecode": "bytecode differs, as its sources do",
    }


def test_without_the_old_list_only_digests_are_named(workshop: Workshop) -> None:
    lock = workshop.lock()
    _byte(workshop)
    (workshop.store / f"{lock.roots['environment'].digest}.list").unlink()
    assert any("no file can be named" in change.text for change in workshop.changes())


GENERATED: list[Callable[[Workshop], object]] = [
    lambda w: (
        (w.site / "fakelib" / "__pycache__").mkdir()
        or (w.site / "fakelib/__pycache__/x.pyc").write_bytes(b"1")
    ),
    lambda w: (w.site / "fakelib-1.0.dist-info" / "INSTALLER").write_text("uv\n"),
    lambda w: (w.site / "fakelib-1.0.dist-info" / "REQUESTED").touch(),
    lambda w: (w.site / "fakelib-1.0.dist-info" / "direct_url.json").write_text("{}"),
    lambda w: (w.environment / "bin" / "fakelib-script").write_text("#!/somewhere/bin/python\n"),
    lambda w: (w.environment / "pyvenv.cfg").write_text(
        (w.environment / "pyvenv.cfg").read_text() + "prompt = x\n"
    ),
    lambda w: (w.stdlib / "test").mkdir() or (w.stdlib / "test" / "test_x.py").write_text("x = 1\n"),
    lambda w: (
        (w.stdlib / "site-packages").mkdir() or (w.stdlib / "site-packages" / "x.py").write_text("x = 1\n")
    ),
    lambda w: (w.folder / "notes.txt").write_text("not in files\n"),
]


@pytest.mark.parametrize("change", GENERATED)
def test_what_installing_generates_does_not_matter(
    workshop: Workshop, change: Callable[[Workshop], object]
) -> None:
    workshop.lock()
    change(workshop)
    assert workshop.changes() == []


def test_files_that_differ_from_their_record_are_named(workshop: Workshop) -> None:
    assert workshop.draft().warnings == ()
    _byte(workshop)
    (warning,) = workshop.draft().warnings
    assert warning.startswith("fakelib 1.0: 1 file differs from its RECORD: ")
    _missing(workshop)
    assert any(
        text.startswith("other 2.4.6: 1 file of its RECORD missing") for text in workshop.draft().warnings
    )


def test_a_forgotten_module_is_named(workshop: Workshop) -> None:
    (workshop.folder / "main.py").write_text(
        "import fakelib, helper_one\nfrom helper_two.x import y\nfrom . import z\n"
    )
    (workshop.folder / "helper_one.py").write_text("")
    (workshop.folder / "helper_two").mkdir()
    (workshop.folder / "helper_two" / "__init__.py").write_text("")
    said = [text.partition(" ")[0] for text in workshop.draft().warnings]
    assert said == ["helper_one.py", "helper_two/__init__.py"]
    workshop.edit('["lib/*.py"]', '["helper_*.py", "helper_two/*.py"]')
    assert workshop.draft().warnings == ()


def test_a_sourceless_pyc_is_code_and_is_locked(workshop: Workshop) -> None:
    workshop.lock()
    (workshop.site / "hidden.pyc").write_bytes(b"\0" * 16)
    assert workshop.changes() != []


def test_stale_store_files_go_and_others_stay(workshop: Workshop) -> None:
    workshop.lock()
    (workshop.store / "README").write_text("mine")
    before = {path.name for path in workshop.store.iterdir()}
    _byte(workshop)
    lock = workshop.lock()
    after = {path.name for path in workshop.store.iterdir()}
    assert len(after) == len(before)
    assert "README" in after
    assert {name.partition(".")[0] for name in after - {"README"}} == {
        root.digest for root in lock.roots.values()
    }


REFUSALS: list[tuple[Callable[[Workshop], object], type[Exception], str]] = [
    (lambda w: (w.folder / "photo.png").unlink(), ManifestError, "protected input is missing: photo.png"),
    (
        lambda w: (w.folder / "photo.png").write_bytes(b"\x89PNG" + b"\0" * 5000),
        ManifestError,
        "not encrypted",
    ),
    (lambda w: (w.folder / "photo.png").write_bytes(encrypted(1)[:4095]), ManifestError, "not encrypted"),
    (
        lambda w: w.edit('path = "photo.png"', 'path = "lib2"') or (w.folder / "lib2").mkdir(),
        ManifestError,
        "not an encr",
    ),
    (lambda w: w.edit('["lib/*.py"]', '["lob/*.py"]'), ManifestError, "matches no file"),
    (lambda w: w.edit('["lib/*.py"]', '["*.png"]'), UsageError, "both a trusted file"),
    (lambda w: w.edit('command = ["python"', 'command = ["bash"'), UsageError, "only a Python program"),
    (
        lambda w: (w.folder / "lib" / "out.py").symlink_to("/etc/hostname"),
        UsageError,
        "outside the job's folder",
    ),
    (
        lambda w: w.edit('name = "small"', 'name = "small"\nsystem = ["/nonexistent.so"]'),
        ManifestError,
        "missing",
    ),
    (lambda w: (w.site / "two\nlines.py").write_text(""), ManifestError, "line break"),
    (lambda w: (w.site / "bad\udcff.py").write_text(""), ManifestError, "UTF-8"),
    (
        lambda w: (w.site / "x-1.dist-info").mkdir() or (w.site / "x-1.dist-info/METADATA").touch(),
        ManifestError,
        "names no",
    ),
]


@pytest.mark.parametrize(("change", "error", "words"), REFUSALS)
def test_what_cannot_be_locked(
    workshop: Workshop, change: Callable[[Workshop], object], error: type[Exception], words: str
) -> None:
    change(workshop)
    with pytest.raises(error, match=words):
        workshop.lock()
    assert not (workshop.folder / LOCK_NAME).exists()


def test_a_protected_folder_is_its_index(workshop: Workshop) -> None:
    workshop.edit('path = "photo.png"', 'path = "photos"')
    (workshop.folder / "photos").mkdir()
    (workshop.folder / "photos" / ".lanthorn-index").write_bytes(encrypted(7))
    entry = workshop.lock().protected[0]
    assert (entry.path, entry.kind) == ("photos", "folder")
    assert entry.version


def test_floating_inputs_may_be_absent(workshop: Workshop) -> None:
    workshop.edit('access = "read"', 'access = "read"\nfloating = true')
    (workshop.folder / "photo.png").unlink()
    entry = workshop.lock().protected[0]
    assert (entry.version, entry.floating) == (None, True)


def test_an_interpreter_that_does_not_run(workshop: Workshop) -> None:
    (workshop.environment / "bin" / "python").unlink()
    with pytest.raises(UsageError, match="does not run"):
        workshop.draft()


def test_environments_with_the_systems_packages_are_refused(workshop: Workshop) -> None:
    path = workshop.environment / "pyvenv.cfg"
    path.write_text(path.read_text().replace("packages = false", "packages = true"))
    with pytest.raises(UsageError, match="system's packages"):
        workshop.draft()
