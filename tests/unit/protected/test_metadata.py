"""Node 0: versions, flags, limits, and that no bytes make the parser raise anything but our errors."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanthorn.errors import Error, FormatError, IntegrityError, UsageError
from lanthorn.protected import ProtectedEditor, ProtectedReader, version_id
from lanthorn.protected._layout import MAX_FILE_SIZE
from lanthorn.protected.metadata import Metadata, build_node0, open_metadata, parse_header
from tests.unit.protected.decoder import decode, encode_v1, encode_v2_metadata
from tests.unit.protected.helpers import KEY, Memory, contents, encrypt, new_store, read_all

NONCE = bytes(range(100, 132))


def plain(path: bytes = b"in/file", size: int = 5) -> bytes:
    return path.ljust(772, b"\0") + struct.pack("<Q", size) + bytes(32) + b"hello".ljust(3072, b"\0")


def test_reads_version_1() -> None:
    raw = encode_v1(contents(3000), "in/file", KEY.raw, NONCE)
    assert read_all(raw) == contents(3000)


def test_an_edited_version_1_file_becomes_version_2() -> None:
    with new_store() as store:
        store.pwrite(encode_v1(b"old", "in/file", KEY.raw, NONCE), 0)
        editor = ProtectedEditor.open(store, KEY, "in/file")
        assert editor.flush() == version_id(encode_v1(b"old", "in/file", KEY.raw, NONCE)), "unchanged"
        editor.write(b"new", 0)
        editor.flush()
        raw = store.pread(4096, 0)
    assert raw[8] == 2 and decode(raw, KEY.raw).data == b"new"


def test_reads_what_the_second_implementation_wrote() -> None:
    assert read_all(encode_v2_metadata(plain(), KEY.raw, NONCE)) == b"hello"


def test_bytes_after_the_size_are_not_shown() -> None:
    assert read_all(encode_v2_metadata(plain(size=2), KEY.raw, NONCE)) == b"he"


@pytest.mark.parametrize(
    ("path", "size", "message"),
    [
        (b"x" * 772, 5, "zero-terminated"),
        (b"in/file\0more", 5, "zero-terminated"),
        (b"\xff\xfe", 5, "not UTF-8"),
        (b"in/file", MAX_FILE_SIZE + 1, "over a limit"),
        (b"in/file", 2**64 - 1, "over a limit"),
    ],
)
def test_refuses_malformed_metadata_even_under_the_right_key(path: bytes, size: int, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_all(encode_v2_metadata(plain(path, size), KEY.raw, NONCE), path=None)


@pytest.mark.parametrize("major", [0, 3, 255])
def test_refuses_other_versions(major: int) -> None:
    raw = bytearray(encrypt(b"hello"))
    raw[8] = major
    with pytest.raises(FormatError, match=f"expected version 1 or 2, got {major}"):
        read_all(bytes(raw))


def test_a_pending_write_is_refused_with_the_way_out() -> None:
    raw = bytearray(encrypt(b"hello"))
    raw[58] = 1
    with pytest.raises(IntegrityError, match="write pending") as caught:
        read_all(bytes(raw))
    assert caught.value.hint is not None and "Gramine" in caught.value.hint


@pytest.mark.parametrize("flags", [2, 4, 0x80, 0xFE])
def test_refuses_unknown_flags(flags: int) -> None:
    raw = bytearray(encrypt(b"hello"))
    raw[58] = flags
    with pytest.raises(FormatError, match=f"expected 0x00, got {flags:#04x}"):
        read_all(bytes(raw))


def test_ignores_what_the_format_does_not_authenticate() -> None:
    raw = bytearray(encrypt(b"hello"))
    raw[9] = 7
    raw[3943:4096] = b"x" * 153
    assert read_all(bytes(raw)) == b"hello"


def test_the_version_id_covers_bytes_0_to_3942() -> None:
    raw = bytearray(encrypt(b"hello"))
    before = version_id(bytes(raw))
    raw[3943] ^= 1
    assert version_id(bytes(raw)) == before
    raw[3942] ^= 1
    assert version_id(bytes(raw)) != before


@pytest.mark.parametrize("path", ["", ".", "a/", "a//b", "./a", "a/../b", "/", "a\0b", "é" * 386, "\udcff"])
def test_refuses_to_embed_a_path_nobody_could_compare(path: str) -> None:
    with pytest.raises(UsageError):
        build_node0(Metadata(path, 0, bytes(32), b""), KEY)


def test_embeds_the_longest_path() -> None:
    path = "é" * 385 + "x"
    assert read_all(encrypt(b"hello", path), path=path) == b"hello"


@given(st.binary(max_size=5000), st.booleans())
def test_no_bytes_make_the_parser_raise_something_foreign(data: bytes, magic: bool) -> None:
    raw = (b"GRAFS_PF" + data if magic else data).ljust(4096, b"\0")
    try:
        open_metadata(raw, parse_header(raw, "x"), KEY, "x")
    except Error:
        return
    raise AssertionError("random bytes were accepted")


@given(st.binary(min_size=3884, max_size=3884))
def test_no_authentic_metadata_raises_something_foreign(data: bytes) -> None:
    raw = encode_v2_metadata(data, KEY.raw, NONCE)
    with contextlib.suppress(FormatError):
        ProtectedReader.open(Memory(raw), KEY, path=None)
