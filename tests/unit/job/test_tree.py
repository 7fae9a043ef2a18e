"""The hash tree against RFC 6962's recursive definition."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanthorn.job import tree


def reference(leaves: list[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + reference(leaves[:split]) + reference(leaves[split:])).digest()


@given(st.integers(0, 300), st.binary(min_size=1, max_size=8))
def test_root_is_the_recursive_definition(count: int, seed: bytes) -> None:
    leaves = [hashlib.sha256(seed + bytes([at % 256, at // 256])).digest() for at in range(count)]
    assert tree.root(b"".join(leaves)) == reference(leaves)


@pytest.mark.parametrize(
    "size", [0, 1, tree.CHUNK - 1, tree.CHUNK, tree.CHUNK + 1, 17 * tree.CHUNK, 33 * tree.CHUNK + 5]
)
def test_one_pass_gives_size_sha256_and_leaves(size: int, tmp_path: Path) -> None:
    data = os.urandom(size)
    (tmp_path / "f").write_bytes(data)
    with open(tmp_path / "f", "rb") as file:
        digests = tree.digests_of(file.fileno())
    chunks = [data[at : at + tree.CHUNK] for at in range(0, size, tree.CHUNK)]
    assert digests.size == size
    assert digests.sha256 == hashlib.sha256(data).hexdigest()
    assert digests.leaves == b"".join(hashlib.sha256(b"\0" + chunk).digest() for chunk in chunks)
    assert digests.leaves == tree.leaves_of(data)
    assert len(digests.leaves) == tree.leaf_count(size) * tree.DIGEST
    assert digests.head == data[:64]


def test_short_reads_do_not_split_chunks() -> None:
    data = os.urandom(3 * tree.CHUNK + 7)
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.close(reading)
        for at in range(0, len(data), 1000):
            os.write(writing, data[at : at + 1000])
        os._exit(0)
    os.close(writing)
    digests = tree.digests_of(reading)
    os.close(reading)
    os.waitpid(child, 0)
    assert digests.leaves == tree.leaves_of(data)


def test_every_leaf_counts() -> None:
    leaves = tree.leaves_of(os.urandom(5 * tree.CHUNK))
    for at in range(5):
        changed = bytearray(leaves)
        changed[at * tree.DIGEST] ^= 1
        assert tree.root(bytes(changed)) != tree.root(leaves)
    assert tree.root(leaves[tree.DIGEST :]) != tree.root(leaves)
