"""One-pass writing: an independent decoder reads it, and no key is used twice."""

from __future__ import annotations

import io
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanthorn.errors import StorageError
from lanthorn.protected import encrypt_stream, version_id
from lanthorn.protected._layout import data_nodes, encrypted_size, physical_data, physical_mht
from tests.unit.protected.decoder import decode
from tests.unit.protected.helpers import KEY, SECOND_LEVEL, RecordingRandom, contents, encrypt, new_store

EDGES = [0, 1, 3071, 3072, 3073, 3072 + 4096, 3072 + 4097, 3072 + 96 * 4096, 3072 + 96 * 4096 + 1]


@pytest.mark.parametrize("size", [*EDGES, SECOND_LEVEL - 1, SECOND_LEVEL])
def test_an_independent_decoder_reads_ours(size: int) -> None:
    raw = encrypt(contents(size))
    assert len(raw) == encrypted_size(size)
    decoded = decode(raw, KEY.raw)
    assert (decoded.path, decoded.data) == ("in/file", contents(size))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1_000_000))
def test_an_independent_decoder_reads_any_size(size: int) -> None:
    assert decode(encrypt(contents(size)), KEY.raw).data == contents(size)


def test_places_from_the_description() -> None:
    assert [physical_mht(m) for m in range(4)] == [1, 98, 195, 292]
    assert [physical_data(d) for d in (0, 95, 96, 191, 192)] == [2, 97, 99, 194, 196]
    assert data_nodes(1 << 20) == 256 and encrypted_size(1 << 20) == 1_064_960
    assert encrypted_size(3072) == 4096 and encrypted_size(3073) == 3 * 4096


def test_every_node_has_a_key_of_its_own_from_the_random_source() -> None:
    random = RecordingRandom()
    with new_store() as store:
        encrypt_stream(io.BytesIO(contents(SECOND_LEVEL)), store, KEY, "in/file", random=random)
        decoded = decode(store.pread(store.size(), 0), KEY.raw)
    assert len(set(decoded.node_keys)) == len(decoded.node_keys)
    assert set(decoded.node_keys) <= random.keys
    assert decoded.nonce in random.given


def test_two_encryptions_of_the_same_have_nothing_in_common() -> None:
    one, two = decode(encrypt(contents(900000)), KEY.raw), decode(encrypt(contents(900000)), KEY.raw)
    assert not set(one.node_keys) & set(two.node_keys)
    assert one.nonce != two.nonce


def test_a_random_source_that_repeats_would_be_caught() -> None:
    """The recording test can fail: a constant source gives equal keys."""
    with new_store() as store:
        encrypt_stream(io.BytesIO(contents(10000)), store, KEY, "in/file", random=bytes)
        keys = decode(store.pread(store.size(), 0), KEY.raw).node_keys
    assert len(set(keys)) < len(keys)


def test_returns_the_version_id() -> None:
    with new_store() as store:
        version = encrypt_stream(io.BytesIO(b"hello"), store, KEY, "in/file", size=5)
        assert version == version_id(store.pread(4096, 0))


@pytest.mark.parametrize(("size", "declared"), [(10, 9), (10, 11), (100000, 99999), (3072, 3073)])
def test_refuses_a_source_of_another_size(size: int, declared: int) -> None:
    with new_store() as store:
        with pytest.raises(StorageError, match=f"expected {declared} bytes, got {size}"):
            encrypt_stream(io.BytesIO(contents(size)), store, KEY, "in/file", size=declared)
        assert store.pread(4096, 0)[:8] != b"GRAFS_PF", "a refused file must not be readable"


def test_a_source_that_gives_little_at_a_time() -> None:
    class Trickle(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 1, 1000))

    with new_store() as store:
        encrypt_stream(Trickle(contents(500000)), store, KEY, "in/file")
        assert decode(store.pread(store.size(), 0), KEY.raw).data == contents(500000)


def test_a_pipe_is_a_source() -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b"through a pipe")
    os.close(write_end)
    with new_store() as store, os.fdopen(read_end, "rb") as source:
        encrypt_stream(source, store, KEY, "in/file")
        assert decode(store.pread(store.size(), 0), KEY.raw).data == b"through a pipe"


def test_no_key_encrypts_twice(one_use_keys: set[bytes]) -> None:
    """Also not the tree nodes that are encrypted a second time, when their children are known."""
    with new_store() as store:
        encrypt_stream(io.BytesIO(contents(SECOND_LEVEL)), store, KEY, "in/file")
        decoded = decode(store.pread(store.size(), 0), KEY.raw)
    assert set(decoded.node_keys) < one_use_keys
    assert len(one_use_keys) == len(decoded.node_keys) + 2 + 1, "two parents again, and node 0"


def test_the_watch_over_keys_can_fail(one_use_keys: set[bytes]) -> None:
    with new_store() as store, pytest.raises(AssertionError, match="a key encrypts twice"):
        encrypt_stream(io.BytesIO(contents(10000)), store, KEY, "in/file", random=bytes)
