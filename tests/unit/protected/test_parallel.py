"""Several processes: the same file as one process makes, and no worker outlives its parent's failure."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from lanthorn.errors import Error, IntegrityError, StorageError
from lanthorn.protected import FileRange, ProtectedReader
from lanthorn.protected._workers import MAX_WORKERS, run_workers, worker_count
from lanthorn.protected.parallel import PARALLEL_MINIMUM, decrypt_range, encrypt_range
from tests.unit.protected.decoder import decode
from tests.unit.protected.helpers import KEY, SECOND_LEVEL, contents, encrypt, new_store


@pytest.fixture
def source(tmp_path: Path) -> FileRange:
    (tmp_path / "source").write_bytes(contents(SECOND_LEVEL))
    return FileRange.open(tmp_path / "source")


def children() -> set[str]:
    """Every child of this process, zombies too."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


@pytest.mark.parametrize("processes", [1, 2, 5])
def test_processes_make_one_valid_file(source: FileRange, processes: int) -> None:
    before = children()
    done: list[int] = []
    with new_store() as store:
        encrypt_range(source, store, KEY, "in/file", processes=processes, progress=done.append)
        decoded = decode(store.pread(store.size(), 0), KEY.raw)
    assert (decoded.path, decoded.data) == ("in/file", contents(SECOND_LEVEL))
    assert len(set(decoded.node_keys)) == len(decoded.node_keys), "forked processes repeat a key"
    assert sum(done) == SECOND_LEVEL and children() == before
    source.close()


@pytest.mark.parametrize("size", [0, 1, 3072, 3073, 400_000, (1 << 20) + 3072, 5_000_000])
@pytest.mark.parametrize("processes", [1, 3])
def test_processes_decrypt(size: int, processes: int) -> None:
    done: list[int] = []
    with new_store() as store, new_store() as output:
        store.pwrite(encrypt(contents(size)), 0)
        reader = ProtectedReader.open(store, KEY, path="in/file")
        decrypt_range(reader, output, processes=processes, progress=done.append)
        assert output.pread(size + 1, 0) == contents(size)
    assert sum(done) == size


def test_a_worker_hands_its_error_to_the_parent() -> None:
    before = children()
    raw = bytearray(encrypt(contents(3_000_000)))
    raw[-5000] ^= 1
    with new_store() as store, new_store() as output:
        store.pwrite(raw, 0)
        reader = ProtectedReader.open(store, KEY, path="in/file")
        with pytest.raises(IntegrityError, match="was changed: data node"):
            decrypt_range(reader, output, processes=2)
    assert children() == before


def test_a_source_that_shrinks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(contents(1_000_000))
    with FileRange.open(tmp_path / "source") as shrinking, new_store() as store:
        size = shrinking.size()
        os.truncate(tmp_path / "source", 500_000)
        shrinking.size = lambda: size  # type: ignore[method-assign]
        with pytest.raises(StorageError, match="became shorter"):
            encrypt_range(shrinking, store, KEY, "in/file", processes=2)


def test_a_source_that_grows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(contents(10_000))

    def grow(_: int) -> None:
        with open(tmp_path / "source", "ab") as file:
            file.write(b"x")

    with FileRange.open(tmp_path / "source") as growing, new_store() as store:
        with pytest.raises(StorageError, match="changed while it was read"):
            encrypt_range(growing, store, KEY, "in/file", progress=grow)
        assert store.pread(8, 0) != b"GRAFS_PF"


def test_a_worker_that_dies_is_an_error() -> None:
    def job(index: int) -> Generator[bytes, None, None]:
        yield b"first"
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(StorageError, match="ended before its work was done"):
        list(run_workers(2, job))


def test_a_foreign_error_in_a_worker_says_its_kind_and_nothing_else() -> None:
    def job(index: int) -> Generator[bytes, None, None]:
        yield b""
        raise ValueError("plaintext: tiger")

    with pytest.raises(Error, match=r"^a worker failed: ValueError$"):
        list(run_workers(1, job))


def test_leaving_early_kills_and_reaps() -> None:
    def job(index: int) -> Generator[bytes, None, None]:
        yield b"ready"
        time.sleep(60)

    before, started = children(), time.monotonic()
    results = run_workers(2, job)
    assert next(results) == b"ready"
    results.close()
    assert children() == before and time.monotonic() - started < 30


def test_small_files_start_no_process(source: FileRange, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("forked"))
    with new_store() as store:
        encrypt_range(source, store, KEY, "in/file")
    source.close()
    assert PARALLEL_MINIMUM == 64 << 20 and 1 <= worker_count() <= MAX_WORKERS
