"""What a reader returns, and everything it must refuse."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanthorn.errors import FormatError, IntegrityError, StorageError
from lanthorn.protected import ProtectedReader, version_id
from lanthorn.protected._tree import MAX_KEPT_NODES
from tests.unit.protected.helpers import KEY, OTHER_KEY, SECOND_LEVEL, Memory, contents, encrypt, read_all

NODE = 4096
SIZE = (
    3072 + 200 * NODE + 100
)  # 201 data nodes below three tree nodes: 0 | 1 | 2..97 | 98 | 99..194 | 195 | ...
DATA = contents(SIZE)
RAW = encrypt(DATA)


def nodes(raw: bytes) -> list[bytes]:
    return [raw[i : i + NODE] for i in range(0, len(raw), NODE)]


def swapped(a: int, b: int) -> bytes:
    parts = nodes(RAW)
    parts[a], parts[b] = parts[b], parts[a]
    return b"".join(parts)


def replaced(number: int, other: bytes) -> bytes:
    parts = nodes(RAW)
    parts[number] = nodes(other)[number]
    return b"".join(parts)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, SIZE + 5000), st.one_of(st.integers(0, 9000), st.integers(0, SIZE + 10)))
def test_reads_any_range(offset: int, length: int) -> None:
    reader = ProtectedReader.open(Memory(RAW), KEY, path="in/file")
    assert reader.read(length, offset) == DATA[offset : offset + length]


@pytest.mark.parametrize("size", [SECOND_LEVEL - 1, SECOND_LEVEL])
def test_reads_across_the_second_level_of_the_tree(size: int) -> None:
    raw = encrypt(contents(size))
    reader = ProtectedReader.open(Memory(raw), KEY, path="in/file")
    assert reader.read(5000, size - 5000) == contents(size)[-5000:]
    assert reader.read(size, 0) == contents(size)


def test_read_into_reports_the_end_and_leaves_the_rest_alone() -> None:
    reader = ProtectedReader.open(Memory(RAW), KEY, path="in/file")
    buffer = bytearray(b"x" * 300)
    assert reader.read_into(memoryview(buffer), SIZE - 100) == 100
    assert buffer == DATA[-100:] + b"x" * 200
    assert reader.read_into(memoryview(buffer), SIZE) == 0
    assert reader.read(10, -1) == b""


def test_says_what_it_opened() -> None:
    reader = ProtectedReader.open(Memory(RAW), KEY, path=None, version=version_id(RAW))
    assert (reader.size, reader.path, reader.version) == (SIZE, "in/file", version_id(RAW))


def test_every_byte_of_node_0() -> None:
    """Each authenticated byte matters; the others are exactly minor_version and the padding."""
    raw = encrypt(b"hello")
    ignored = []
    for at in range(NODE):
        changed = bytearray(raw)
        changed[at] ^= 0x10
        try:
            ProtectedReader.open(Memory(bytes(changed)), KEY, path="in/file")
        except FormatError:
            continue
        ignored.append(at)
    assert ignored == [9, *range(3943, NODE)]


def test_a_pinned_version_covers_minor_version_too() -> None:
    changed = bytearray(RAW)
    changed[9] ^= 1
    with pytest.raises(IntegrityError, match="another version"):
        read_all(bytes(changed), version=version_id(RAW))


@pytest.mark.parametrize("number", [1, 2, 50, 97, 98, 99, 194, 195, 196, 204])
@pytest.mark.parametrize("at", [0, 1, 2047, 3071, 3072, 4094, 4095])
def test_a_changed_byte_in_any_other_node(number: int, at: int) -> None:
    changed = bytearray(RAW)
    changed[number * NODE + at] ^= 1
    with pytest.raises(IntegrityError):
        read_all(bytes(changed))


def test_every_bit_of_one_data_node() -> None:
    raw = encrypt(contents(5000))
    for at in range(2 * NODE, 3 * NODE):
        changed = bytearray(raw)
        changed[at] ^= 1 << at % 8
        with pytest.raises(IntegrityError):
            read_all(bytes(changed))


TWIN = encrypt(DATA)
MUTATIONS: dict[str, tuple[Callable[[], bytes], type[FormatError], str]] = {
    "empty": (lambda: b"", FormatError, "not a protected file"),
    "text": (lambda: b"hello, world" * 1000, FormatError, "not a protected file"),
    "shorter than a node": (lambda: RAW[:4095], FormatError, "not a protected file"),
    "cut to node 0": (lambda: RAW[:NODE], IntegrityError, "cut short: expected"),
    "cut at a node": (lambda: RAW[: 100 * NODE], IntegrityError, "cut short: expected"),
    "cut by a node": (lambda: RAW[:-NODE], IntegrityError, "cut short: expected"),
    "cut by a byte": (lambda: RAW[:-1], IntegrityError, "cut short: expected"),
    "extended by a byte": (lambda: RAW + b"\0", IntegrityError, "extra bytes"),
    "extended by a node": (lambda: RAW + bytes(NODE), IntegrityError, "extra bytes"),
    "extended by its own node": (lambda: RAW + RAW[-NODE:], IntegrityError, "extra bytes"),
    "data nodes swapped": (lambda: swapped(2, 3), IntegrityError, "data node 1"),
    "data nodes of two tree nodes swapped": (lambda: swapped(5, 150), IntegrityError, "data node"),
    "tree nodes swapped": (lambda: swapped(98, 195), IntegrityError, "tree node"),
    "tree and data node swapped": (lambda: swapped(98, 99), IntegrityError, "tree node 1"),
    "node 0 moved": (lambda: swapped(0, 1), FormatError, "not a protected file"),
    "root of a twin": (lambda: replaced(1, TWIN), IntegrityError, "tree node 0"),
    "tree node of a twin": (lambda: replaced(98, TWIN), IntegrityError, "tree node 1"),
    "data node of a twin": (lambda: replaced(60, TWIN), IntegrityError, "data node 58"),
    "node 0 of a twin": (lambda: replaced(0, TWIN), IntegrityError, "tree node 0"),
    "node 0 of another size": (
        lambda: encrypt(contents(SIZE + NODE))[:NODE] + RAW[NODE:],
        IntegrityError,
        "cut",
    ),
    "nodes zeroed": (lambda: RAW[: 10 * NODE] + bytes(len(RAW) - 10 * NODE), IntegrityError, "changed"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_refuses(name: str) -> None:
    make, error, message = MUTATIONS[name]
    with pytest.raises(FormatError, match=message) as caught:
        read_all(make())
    assert type(caught.value) is error


def test_refuses_another_key_path_and_version() -> None:
    with pytest.raises(IntegrityError, match="wrong key"):
        read_all(RAW, key=OTHER_KEY)
    with pytest.raises(IntegrityError, match="expected 'in/other', got 'in/file'"):
        read_all(RAW, path="in/other")
    with pytest.raises(IntegrityError, match=f"expected {'0' * 64}, got {version_id(RAW)}"):
        read_all(RAW, version="0" * 64)


def test_the_version_is_compared_before_the_key_is_used() -> None:
    with pytest.raises(IntegrityError, match="another version"):
        read_all(RAW, key=OTHER_KEY, version="0" * 64)


def test_a_failed_read_returns_nothing_and_the_reader_goes_on() -> None:
    changed = bytearray(RAW)
    changed[20 * NODE] ^= 1  # data node 18
    reader = ProtectedReader.open(Memory(bytes(changed)), KEY, path="in/file")
    buffer = bytearray(b"x" * SIZE)
    for _ in range(2):
        with pytest.raises(IntegrityError, match="data node 18"):
            reader.read_into(memoryview(buffer), 0)
        assert buffer == bytes(SIZE), "plaintext of other nodes was left behind"
    assert reader.read(1000, 0) == DATA[:1000]
    with pytest.raises(IntegrityError):
        reader.read(1, 3072 + 18 * NODE)


def test_a_host_that_changes_its_mind() -> None:
    class Shrinking(Memory):
        def pread(self, length: int, offset: int) -> bytes:
            return super().pread(length, offset) if offset < NODE else b""

    reader = ProtectedReader.open(Shrinking(RAW), KEY, path="in/file")
    with pytest.raises(IntegrityError, match="cut short: tree node 0 is missing"):
        reader.read(10, 5000)


def test_a_host_that_fails() -> None:
    class Failing(Memory):
        def pread(self, length: int, offset: int) -> bytes:
            if offset < NODE:
                return super().pread(length, offset)
            raise OSError(5, "Input/output error")

    reader = ProtectedReader.open(Failing(RAW), KEY, path="in/file")
    with pytest.raises(StorageError, match="input/output error"):
        reader.read(10, 5000)


def test_messages_hold_no_secret() -> None:
    with pytest.raises(IntegrityError) as caught:
        read_all(RAW, key=OTHER_KEY)
    said = f"{caught.value} {caught.value.hint}"
    assert OTHER_KEY.raw.hex() not in said and repr(OTHER_KEY.raw) not in said


def test_several_threads_read_at_once() -> None:
    reader = ProtectedReader.open(Memory(RAW), KEY, path="in/file")
    wrong: list[int] = []

    def work(seed: int) -> None:
        for i in range(40):
            offset = (seed * 7919 + i * 104729) % SIZE
            if reader.read(30000, offset) != DATA[offset : offset + 30000]:
                wrong.append(offset)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_tree_is_kept_in_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_KEPT_NODES * NODE <= 8 << 20
    monkeypatch.setattr("lanthorn.protected._tree.MAX_KEPT_NODES", 2)
    raw = encrypt(contents(SECOND_LEVEL))
    reader = ProtectedReader.open(Memory(raw), KEY, path="in/file")
    assert reader.read(SECOND_LEVEL, 0) == contents(SECOND_LEVEL)
    assert len(reader._tree._nodes) <= 2
