"""Reading trusted files: the same bytes as the file, or an error that names it; never other bytes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lanthorn.errors import IntegrityError, ManifestError
from lanthorn.job.tree import CHUNK, leaves_of
from lanthorn.targets.native.trusted import TrustedSlice, VerifiedFile

SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 5]
LIMITS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def contents(size: int) -> bytes:
    return bytes(index * 31 % 251 for index in range(size))


def opened(path: Path, data: bytes) -> VerifiedFile:
    path.write_bytes(data)
    return VerifiedFile(str(path), len(data), leaves_of(data), "the file")


def read(file: VerifiedFile, length: int, offset: int) -> bytes:
    buffer = bytearray(length)
    return bytes(buffer[: file.read_into(memoryview(buffer), offset)])


@pytest.mark.parametrize("size", SIZES)
def test_whole_file_is_what_was_locked(tmp_path: Path, size: int) -> None:
    file = opened(tmp_path / "file", contents(size))
    assert read(file, size + 100, 0) == contents(size)
    file.close()


@LIMITS
@given(
    size=st.sampled_from(SIZES),
    reads=st.lists(st.tuples(st.integers(0, 4 * CHUNK), st.integers(1, 3 * CHUNK))),
)
def test_reads_anywhere_are_those_of_the_file(
    tmp_path: Path, size: int, reads: list[tuple[int, int]]
) -> None:
    data = contents(size)
    file = opened(tmp_path / "file", data)
    for offset, length in reads:
        assert read(file, length, offset) == data[offset : offset + length]
    file.close()


@LIMITS
@given(at=st.integers(0, 3 * CHUNK + 4), offset=st.integers(0, 3 * CHUNK), length=st.integers(1, 2 * CHUNK))
def test_changed_byte_is_refused_or_not_returned(tmp_path: Path, at: int, offset: int, length: int) -> None:
    data = contents(3 * CHUNK + 5)
    file = opened(tmp_path / "file", data)
    changed = bytearray(data)
    changed[at] ^= 0x80
    (tmp_path / "file").write_bytes(changed)
    chunks = range(offset // CHUNK, (min(offset + length, len(data)) - 1) // CHUNK + 1)
    if at // CHUNK in chunks:
        with pytest.raises(
            IntegrityError, match=r"the file differs from the lock at byte \d+: expected .*, found"
        ):
            read(file, length, offset)
    else:
        assert read(file, length, offset) == data[offset : offset + length]
    file.close()


def test_change_after_a_read_is_found_by_the_next(tmp_path: Path) -> None:
    data = contents(3 * CHUNK)
    file = opened(tmp_path / "file", data)
    assert read(file, CHUNK, 0) == data[:CHUNK]
    (tmp_path / "file").write_bytes(bytes(3 * CHUNK))
    with pytest.raises(IntegrityError):
        read(file, CHUNK, 0)
    file.close()


@pytest.mark.parametrize("size", [0, 10, CHUNK, 2 * CHUNK])
def test_shortened_file_says_how_much_is_left(tmp_path: Path, size: int) -> None:
    file = opened(tmp_path / "file", contents(3 * CHUNK))
    os.truncate(tmp_path / "file", size)
    with pytest.raises(IntegrityError, match=f"expected {3 * CHUNK} bytes, found"):
        read(file, 3 * CHUNK, 0)
    file.close()


def test_withheld_and_strange_files_are_refused_at_open(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "folder").mkdir()
    for name, words in [
        ("gone", "withheld"),
        ("pipe", "not a regular"),
        ("link", "withheld"),
        ("folder", "not a reg"),
    ]:
        with pytest.raises(ManifestError, match=f"the file is named by the lock but .*{words}"):
            VerifiedFile(str(tmp_path / name), 5, b"", "the file")


def test_slice_never_leads_out_of_its_range(tmp_path: Path) -> None:
    data = contents(3 * CHUNK)
    pack = opened(tmp_path / "pack", data)
    handle = TrustedSlice(lambda: pack, 1000, CHUNK, 0o644).open(os.O_RDONLY)
    buffer = bytearray(2 * CHUNK)
    assert handle.read_into(memoryview(buffer), 0) == CHUNK
    assert bytes(buffer[:CHUNK]) == data[1000 : 1000 + CHUNK]
    assert handle.read_into(memoryview(buffer), CHUNK - 7) == 7
    assert handle.read_into(memoryview(buffer), CHUNK) == 0
    assert handle.read_into(memoryview(buffer), CHUNK + 5) == 0
    pack.close()
