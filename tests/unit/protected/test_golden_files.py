"""Files made by Gramine's own tool: read byte-exactly, and ours have the layout of theirs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from lanthorn.keys import WrapKey
from lanthorn.protected import FileRange, ProtectedEditor, ProtectedReader
from tests.unit.protected.decoder import decode
from tests.unit.protected.helpers import encrypt, new_store

SIZES = (0, 1, 3071, 3072, 3073, 4096, 7168, 7169, 100000, 396287, 396288, 396289, 1048576)
pytestmark = pytest.mark.shared


def golden(size: int) -> bytes:
    return hashlib.shake_256(f"pf-golden:{size}".encode()).digest(size)


@pytest.fixture
def folder(shared: Path) -> Path:
    return shared / "protected-files"


@pytest.fixture
def key(folder: Path) -> WrapKey:
    return WrapKey((folder / "wrap_key").read_bytes())


def test_no_golden_file_is_forgotten(folder: Path) -> None:
    assert sorted(int(path.stem) for path in folder.glob("*.enc")) == sorted(SIZES)


@pytest.mark.parametrize("size", SIZES)
def test_decrypts_byte_exactly(folder: Path, key: WrapKey, size: int) -> None:
    with FileRange.open(folder / f"{size}.enc") as source:
        reader = ProtectedReader.open(source, key, path=f"{size}.enc")
        assert (reader.size, reader.path) == (size, f"{size}.enc")
        assert reader.read(size + 1, 0) == golden(size)


@pytest.mark.parametrize("size", SIZES)
def test_ours_have_the_same_layout(folder: Path, key: WrapKey, size: int) -> None:
    theirs = (folder / f"{size}.enc").read_bytes()
    ours = encrypt(golden(size), f"{size}.enc", key)
    assert len(ours) == len(theirs)
    assert ours[:10] == theirs[:10] and ours[58] == theirs[58] and ours[3943:4096] == theirs[3943:4096]
    # One decoder that knows neither program reads both to the same contents and path.
    mine, reference = decode(ours, key.raw), decode(theirs, key.raw)
    assert (mine.path, mine.data) == (reference.path, reference.data) == (f"{size}.enc", golden(size))


@pytest.mark.parametrize("size", [3072, 7169, 396289])
def test_an_edited_golden_file_stays_whole(folder: Path, key: WrapKey, size: int) -> None:
    with new_store() as store:
        store.pwrite((folder / f"{size}.enc").read_bytes(), 0)
        editor = ProtectedEditor.open(store, key, f"{size}.enc")
        editor.write(b"changed", size - 3)
        editor.flush()
        decoded = decode(store.pread(store.size(), 0), key.raw)
    assert decoded.data == golden(size)[:-3] + b"changed"
