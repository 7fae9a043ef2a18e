"""Folders on disk: what the operator can do to one, and what each attempt is called."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lanthorn.errors import Error, FormatError, IntegrityError, StorageError, UsageError
from lanthorn.protected import (
    INDEX_NAME,
    FileEntry,
    FileRange,
    FolderEntry,
    FolderIndex,
    LinkEntry,
    decrypt_folder,
    encrypt_file,
    encrypt_folder,
    open_index,
)
from tests.unit.protected.helpers import KEY, OTHER_KEY, contents


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    folder = tmp_path / "plain"
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "empty" / "inner").mkdir(parents=True)
    (folder / "a").write_bytes(contents(5000))
    (folder / "b").write_bytes(contents(5001))
    (folder / "sub" / "c").write_bytes(contents(400_000))
    (folder / "sub" / "deep" / "zero").write_bytes(b"")
    (folder / "sub" / "link").symlink_to("../a")
    (folder / "sub" / "dangling").symlink_to("./nowhere/")
    return folder


@pytest.fixture
def data(plain: Path, tmp_path: Path) -> Path:
    encrypt_folder(plain, tmp_path / "data", KEY, "data")
    return tmp_path / "data"


def tree(folder: Path) -> dict[str, bytes | str | None]:
    found: dict[str, bytes | str | None] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        found[name] = (
            os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        )
    return found


def leftovers(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith(".lanthorn-tmp")]


def test_round_trip(plain: Path, data: Path, tmp_path: Path) -> None:
    index = decrypt_folder(data, tmp_path / "back", KEY, folder="data")
    expected = tree(plain)
    expected["sub/dangling"] = "nowhere"
    assert tree(tmp_path / "back") == expected
    assert isinstance(index.entries["sub/c"], FileEntry) and index.entries["sub/c"].size == 400_000
    assert index.entries["sub/link"] == LinkEntry("../a")
    assert index.entries["empty/inner"] == FolderEntry()
    assert not leftovers(tmp_path)


def test_the_host_sees_files_and_the_index_alone(data: Path) -> None:
    assert sorted(tree(data)) == [INDEX_NAME, "a", "b", "sub", "sub/c", "sub/deep", "sub/deep/zero"]
    assert all(path.stat().st_size % 4096 == 0 for path in data.rglob("*") if path.is_file())


def test_plaintext_is_for_its_owner_alone(data: Path, tmp_path: Path) -> None:
    decrypt_folder(data, tmp_path / "back", KEY)
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "back").rglob("*") if path.is_file()}
    assert modes == {0o600} and (tmp_path / "back" / "sub").stat().st_mode & 0o777 == 0o700


def swap(data: Path) -> None:
    (data / "a").rename(data / "x")
    (data / "b").rename(data / "a")
    (data / "x").rename(data / "b")


def flip(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


def replay(data: Path, what: str) -> None:
    """Put another genuine file of the same owner, path and size in a file's place."""
    source = data.parent / "older"
    source.write_bytes(contents(5000))
    encrypt_file(source, data / what, KEY, f"data/{what}", force=True)


def pipe(data: Path) -> None:
    (data / "a").unlink()
    os.mkfifo(data / "a")


ATTACKS: dict[str, tuple[Callable[[Path], object], type[Error], str]] = {
    "file missing": (lambda d: (d / "a").unlink(), IntegrityError, "lacks a file of its index: a"),
    "deep file missing": (lambda d: (d / "sub/deep/zero").unlink(), IntegrityError, "sub/deep/zero"),
    "folder missing": (
        lambda d: shutil.rmtree(d / "sub"),
        IntegrityError,
        "lacks a file of its index: sub/c",
    ),
    "extra file": (lambda d: (d / "new").write_bytes(b""), IntegrityError, "does not name: new"),
    "extra genuine file": (
        lambda d: shutil.copy(d / "a", d / "sub/a"),
        IntegrityError,
        "does not name: sub/a",
    ),
    "extra folder": (lambda d: (d / "new").mkdir(), IntegrityError, "does not name: new"),
    "extra link": (lambda d: (d / "new").symlink_to("a"), IntegrityError, "does not name: new"),
    "link made real": (
        lambda d: (d / "sub/link").write_bytes(b""),
        IntegrityError,
        "does not name: sub/link",
    ),
    "files swapped": (swap, IntegrityError, "a is another version"),
    "genuine older file": (lambda d: replay(d, "a"), IntegrityError, "a is another version"),
    "one bit of a file": (
        lambda d: flip(d / "sub/c", 50_000),
        IntegrityError,
        "sub/c was changed: data node",
    ),
    "one bit of node 0": (lambda d: flip(d / "sub/c", 2000), IntegrityError, "sub/c is another version"),
    "file cut": (lambda d: os.truncate(d / "sub/c", 4096), IntegrityError, "sub/c is cut short"),
    "file a folder": (lambda d: ((d / "a").unlink(), (d / "a").mkdir()), IntegrityError, "lacks a file"),
    "file a pipe": (pipe, UsageError, "neither file, folder nor link"),
    "index missing": (lambda d: (d / INDEX_NAME).unlink(), FormatError, "not a protected folder"),
    "index changed": (lambda d: flip(d / INDEX_NAME, 900), IntegrityError, "wrong key, or"),
    "index replaced": (
        lambda d: shutil.copy(d / "a", d / INDEX_NAME),
        IntegrityError,
        "carries the path 'data/a'",
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_refuses(name: str, data: Path, tmp_path: Path) -> None:
    attack, error, message = ATTACKS[name]
    attack(data)
    with pytest.raises(error, match=message):
        decrypt_folder(data, tmp_path / "back", KEY)
    assert not (tmp_path / "back").exists() and not leftovers(tmp_path)


def test_an_index_of_another_folder_of_the_same_owner(plain: Path, data: Path, tmp_path: Path) -> None:
    encrypt_folder(plain, tmp_path / "other", KEY, "other")
    shutil.copy(tmp_path / "other" / INDEX_NAME, data / INDEX_NAME)
    with pytest.raises(IntegrityError, match="carries another path"):
        decrypt_folder(data, tmp_path / "back", KEY, folder="data")
    with pytest.raises(IntegrityError, match="another version"):
        decrypt_folder(data, tmp_path / "back", KEY)


def test_version_and_key(data: Path, tmp_path: Path) -> None:
    version = open_index(data, KEY, folder="data").version
    decrypt_folder(data, tmp_path / "back", KEY, version=version)
    with pytest.raises(IntegrityError, match="another version"):
        decrypt_folder(data, tmp_path / "back2", KEY, version="0" * 64)
    with pytest.raises(IntegrityError, match="wrong key"):
        decrypt_folder(data, tmp_path / "back2", OTHER_KEY)


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "sub/../a", "sub/../../outside"])
def test_refuses_links_that_leave(plain: Path, tmp_path: Path, target: str) -> None:
    (plain / "bad").symlink_to(target)
    with pytest.raises(UsageError, match="link leaves the folder"):
        encrypt_folder(plain, tmp_path / "data", KEY, "data")
    assert not (tmp_path / "data").exists()


def test_refuses_names_and_kinds_it_cannot_keep(plain: Path, tmp_path: Path) -> None:
    (plain / INDEX_NAME).write_bytes(b"")
    with pytest.raises(UsageError, match="is ours"):
        encrypt_folder(plain, tmp_path / "data", KEY, "data")
    (plain / INDEX_NAME).unlink()
    with open(os.fsencode(plain) + b"/\xff", "wb"), pytest.raises(UsageError, match="not UTF-8"):
        encrypt_folder(plain, tmp_path / "data", KEY, "data")
    os.unlink(os.fsencode(plain) + b"/\xff")
    os.mkfifo(plain / "pipe")
    with pytest.raises(UsageError, match="neither file, folder nor link"):
        encrypt_folder(plain, tmp_path / "data", KEY, "data")


def test_a_folder_too_deep_is_refused(tmp_path: Path) -> None:
    deep = tmp_path / "plain"
    for _ in range(140):
        deep = deep / "d"
    deep.mkdir(parents=True)
    with pytest.raises(UsageError, match="over a limit"):
        encrypt_folder(tmp_path / "plain", tmp_path / "data", KEY, "data")


def test_an_existing_output_is_replaced_only_with_force(plain: Path, data: Path, tmp_path: Path) -> None:
    before = open_index(data, KEY, folder="data").version
    (plain / "a").write_bytes(b"new")
    with pytest.raises(StorageError, match="output exists"):
        encrypt_folder(plain, data, KEY, "data")
    assert open_index(data, KEY, folder="data").version == before
    after = encrypt_folder(plain, data, KEY, "data", force=True)
    assert open_index(data, KEY, folder="data").version == after.version != before
    assert not leftovers(tmp_path)


def test_force_that_fails_leaves_the_old_folder(plain: Path, data: Path, tmp_path: Path) -> None:
    before = tree(data)
    (plain / "zz").symlink_to("/absolute")
    with pytest.raises(UsageError):
        encrypt_folder(plain, data, KEY, "data", force=True)
    assert tree(data) == before and not leftovers(tmp_path)


def test_force_replaces_a_file_by_a_folder(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"a file")
    encrypt_folder(plain, tmp_path / "data", KEY, "data", force=True)
    assert open_index(tmp_path / "data", KEY, folder="data").entries
    assert not leftovers(tmp_path)


def test_an_index_that_lies_about_a_size(data: Path, tmp_path: Path) -> None:
    """Only the owner of the key can make one; a reader that relies on sizes must still not be led astray."""
    entries = dict(open_index(data, KEY, folder="data").entries)
    honest = entries["a"]
    assert isinstance(honest, FileEntry)
    entries["a"] = FileEntry(honest.size + 1, honest.version)
    (data / INDEX_NAME).unlink()
    with FileRange.create(data / INDEX_NAME, 0o600) as store:
        FolderIndex.build(entries, store, KEY, folder="data")
    with pytest.raises(IntegrityError, match="a has another size: expected 5001, got 5000"):
        decrypt_folder(data, tmp_path / "back", KEY)
