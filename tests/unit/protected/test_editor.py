"""Random access changes against a plain bytearray; failure; fresh keys on every write."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanthorn.errors import FormatError, IntegrityError, StorageError
from lanthorn.protected import FileRange, ProtectedEditor, ProtectedReader
from lanthorn.protected import editor as editor_module
from lanthorn.protected._layout import MAX_FILE_SIZE
from tests.unit.protected.decoder import decode
from tests.unit.protected.helpers import (
    KEY,
    OTHER_KEY,
    SECOND_LEVEL,
    Memory,
    RecordingRandom,
    contents,
    encrypt,
    new_store,
)

LARGEST = 3072 + 100 * 4096
OFFSETS = st.one_of(
    st.integers(0, LARGEST),
    st.sampled_from([0, 3071, 3072, 3073, 3072 + 4096, 3072 + 96 * 4096, 3072 + 96 * 4096 - 1]),
)
LENGTHS = st.one_of(st.integers(0, 9000), st.sampled_from([1, 1024, 4096, 8192, 3 * 4096, 97 * 4096]))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), OFFSETS, LENGTHS),
        st.tuples(st.just("read"), OFFSETS, LENGTHS),
        st.tuples(st.just("truncate"), OFFSETS, st.just(0)),
        st.tuples(st.sampled_from(["flush", "reopen"]), st.just(0), st.just(0)),
    ),
    max_size=25,
)


def resize(reference: bytearray, size: int) -> None:
    del reference[size:]
    reference.extend(bytes(size - len(reference)))


@settings(max_examples=300, deadline=None)
@given(STEPS, st.sampled_from([1, 3, 1024]))
def test_an_editor_is_a_file(steps: list[tuple[str, int, int]], cache: int) -> None:
    """Also with a cache of one dirty node, so that every path through eviction is taken."""
    reference = bytearray()
    editor_module.MAX_DIRTY_NODES, kept = cache, editor_module.MAX_DIRTY_NODES  # type: ignore[misc]
    try:
        with new_store() as store:
            editor = ProtectedEditor.create(store, KEY, "in/file")
            for number, (step, offset, length) in enumerate(steps):
                match step:
                    case "write":
                        data = contents(length + number)[:length]
                        if length:
                            resize(reference, max(len(reference), offset))
                        reference[offset : offset + length] = data
                        assert editor.write(data, offset) == length
                    case "read":
                        assert editor.read(length, offset) == reference[offset : offset + length]
                    case "truncate":
                        editor.truncate(offset)
                        resize(reference, offset)
                    case _:
                        check_flushed(store, editor.flush(), reference)
                        if step == "reopen":
                            editor = ProtectedEditor.open(store, KEY, "in/file")
                assert editor.size == len(reference)
                assert len(editor._dirty) <= cache
            check_flushed(store, editor.flush(), reference)
            assert decode(store.pread(store.size(), 0), KEY.raw).data == reference
    finally:
        editor_module.MAX_DIRTY_NODES = kept  # type: ignore[misc]


def check_flushed(store: FileRange, version: str, reference: bytearray) -> None:
    reader = ProtectedReader.open(store, KEY, path="in/file", version=version)
    assert reader.size == len(reference)
    assert reader.read(reader.size, 0) == reference


def test_a_big_file_written_backwards_in_pieces() -> None:
    data = contents(SECOND_LEVEL)
    with new_store() as store:
        editor = ProtectedEditor.create(store, KEY, "in/file")
        for begin in reversed(range(0, SECOND_LEVEL, 1 << 20)):
            editor.write(data[begin : begin + (1 << 20)], begin)
        editor.flush()
        editor.write(b"x", SECOND_LEVEL // 2)
        editor.flush()
        decoded = decode(store.pread(store.size(), 0), KEY.raw)
    assert decoded.data[SECOND_LEVEL // 2] == ord("x")
    assert decoded.data[: SECOND_LEVEL // 2] == data[: SECOND_LEVEL // 2]
    assert decoded.data[SECOND_LEVEL // 2 + 1 :] == data[SECOND_LEVEL // 2 + 1 :]


def test_shrinking_over_levels_and_growing_again_shows_zeros() -> None:
    with new_store() as store:
        store.pwrite(encrypt(contents(SECOND_LEVEL)), 0)
        editor = ProtectedEditor.open(store, KEY, "in/file")
        editor.truncate(1000)
        editor.truncate(SECOND_LEVEL)
        assert editor.read(SECOND_LEVEL, 0) == contents(SECOND_LEVEL)[:1000] + bytes(SECOND_LEVEL - 1000)
        editor.flush()
        decoded = decode(store.pread(store.size(), 0), KEY.raw)
    assert decoded.data == contents(SECOND_LEVEL)[:1000] + bytes(SECOND_LEVEL - 1000)


def test_every_rewrite_of_a_node_takes_a_fresh_key() -> None:
    random = RecordingRandom()
    seen: set[bytes] = set()
    nonces: set[bytes] = set()
    with new_store() as store:
        editor = ProtectedEditor.create(store, KEY, "in/file", random=random)
        editor.write(contents(1_000_000), 0)
        for step in range(5):
            # The same byte of the same node again and again: one data node, its tree nodes, node 0.
            editor.write(bytes([step]), 900_000)
            editor.flush()
            decoded = decode(store.pread(store.size(), 0), KEY.raw)
            fresh = set(decoded.node_keys) - seen
            assert len(set(decoded.node_keys)) == len(decoded.node_keys)
            assert fresh <= random.keys
            if step:
                assert len(fresh) == 3, "data node, its tree node, the root"
            seen |= fresh
            assert decoded.nonce not in nonces
            nonces.add(decoded.nonce)
    assert len(random.keys) == sum(len(data) // 16 for data in random.given), "the source itself repeated"


def test_nothing_is_readable_before_the_first_flush() -> None:
    with new_store() as store:
        store.pwrite(encrypt(b"what was there"), 0)
        editor = ProtectedEditor.create(store, KEY, "in/file")
        editor.write(contents(5_000_000), 0)
        with pytest.raises(FormatError):
            ProtectedReader.open(store, KEY, path="in/file")
        editor.flush()
        assert ProtectedReader.open(store, KEY, path="in/file").size == 5_000_000


def test_flush_without_a_change_writes_nothing() -> None:
    with new_store() as store:
        editor = ProtectedEditor.create(store, KEY, "in/file")
        first = editor.flush()
        before = store.pread(store.size(), 0)
        assert (editor.flush(), store.pread(store.size(), 0)) == (first, before)
        editor.write(b"", 100)
        assert editor.flush() == first and editor.size == 0


def test_rename_embeds_the_new_path() -> None:
    with new_store() as store:
        store.pwrite(encrypt(contents(500_000)), 0)
        editor = ProtectedEditor.open(store, KEY, "in/file")
        editor.rename("out/other")
        version = editor.flush()
        reader = ProtectedReader.open(store, KEY, path="out/other", version=version)
        assert reader.read(500_000, 0) == contents(500_000)


def test_open_refuses_what_a_reader_refuses() -> None:
    raw = encrypt(contents(10_000))
    with new_store() as store:
        store.pwrite(raw, 0)
        with pytest.raises(IntegrityError, match="wrong key"):
            ProtectedEditor.open(store, OTHER_KEY, "in/file")
        with pytest.raises(IntegrityError, match="another path"):
            ProtectedEditor.open(store, KEY, "in/other")
        store.pwrite(b"\xff", len(raw) - 1)
        with pytest.raises(IntegrityError, match="data node 1"):
            ProtectedEditor.open(store, KEY, "in/file")


def test_a_changed_node_is_not_edited_around() -> None:
    raw = bytearray(encrypt(contents(50_000)))
    raw[5 * 4096] ^= 1  # data node 3
    with new_store() as store:
        store.pwrite(raw, 0)
        editor = ProtectedEditor.open(store, KEY, "in/file")
        with pytest.raises(IntegrityError, match="data node 3"):
            editor.write(b"x", 3072 + 3 * 4096 + 10)
        buffer = bytearray(b"x" * 50_000)
        with pytest.raises(IntegrityError, match="data node 3"):
            editor.read_into(memoryview(buffer), 0)
        assert buffer == bytes(50_000)


class FullDisk(FileRange):
    """A store with room for `room` bytes."""

    room = 0

    def pwrite(self, data: bytes | bytearray | memoryview, offset: int) -> int:
        if offset + len(data) > self.room:
            raise StorageError("cannot write store: no space left on device") from OSError(
                errno.ENOSPC, "No space left on device"
            )
        return super().pwrite(data, offset)


def test_a_full_disk_is_said_and_never_half_a_file() -> None:
    fd = os.memfd_create("full")
    store = FullDisk(fd, "store")
    store.room = 1 << 20
    editor = ProtectedEditor.create(store, KEY, "in/file")
    with pytest.raises(StorageError, match="no space left"):
        editor.write(contents(3_000_000), 0)
    store.room = 1 << 30
    with pytest.raises(StorageError, match="an earlier write"):
        editor.flush()
    with pytest.raises(FormatError):
        ProtectedReader.open(store, KEY, path=None)
    os.close(fd)


@pytest.mark.parametrize("size", [MAX_FILE_SIZE + 1, -1])
def test_sizes_beyond_the_limit_are_refused_and_change_nothing(size: int) -> None:
    with new_store() as store:
        editor = ProtectedEditor.create(store, KEY, "in/file")
        with pytest.raises(StorageError, match="expected 0 to"):
            editor.truncate(size)
        with pytest.raises(StorageError, match="expected 0 to"):
            editor.write(b"x", size)
        editor.write(b"fine", 0)
        editor.flush()
        assert decode(store.pread(4096, 0), KEY.raw).data == b"fine"


def test_old_bytes_behind_the_end_of_a_file_of_gramine_do_not_come_back() -> None:
    """Gramine leaves old bytes and entries behind after a truncation; its file here is made by hand."""
    size = 3072 + 4096 + 10
    raw = encrypt(contents(size))
    # Made as Gramine would: the last node still holds old bytes, because only file_size was changed.
    with new_store() as store:
        store.pwrite(raw, 0)
        editor = ProtectedEditor.open(store, KEY, "in/file")
        editor.size = size - 5  # as if the metadata said so
        editor._clean_tail()
        editor.truncate(size)
        assert editor.read(10, size - 10) == contents(size)[-10:-5] + bytes(5)
    assert ProtectedReader.open(Memory(raw), KEY, path=None).read(5, size - 5) == contents(size)[-5:]


def test_no_key_encrypts_twice(one_use_keys: set[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(editor_module, "MAX_DIRTY_NODES", 2)
    with new_store() as store:
        editor = ProtectedEditor.create(store, KEY, "in/file")
        for step in range(20):
            editor.write(contents(500_000), 250_000 * (step % 3))
            editor.write(b"x", step * 50_000)
            editor.truncate(1_500_000 - step * 20_000)
            if step % 4 == 0:
                editor.flush()
        editor.flush()
        assert set(decode(store.pread(store.size(), 0), KEY.raw).node_keys) < one_use_keys
