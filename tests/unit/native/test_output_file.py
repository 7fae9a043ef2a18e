"""An output file against a plain one: any writes, truncations, commits and reopenings, and what stays on the host."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lanthorn.errors import IntegrityError
from lanthorn.keys import WrapKey
from lanthorn.protected import FileRange, ProtectedReader
from lanthorn.storage import TEMPORARY_PREFIX
from lanthorn.targets.native.outputs import OutputFile, remove_leftovers

KEY = WrapKey(bytes(range(16)))


def plaintext(path: Path, name: str = "out") -> bytes:
    with FileRange.open(path) as source:
        reader = ProtectedReader.open(source, KEY, path=name)
        return reader.read(reader.size, 0)


def output(folder: Path, *, may_publish: bool = True) -> OutputFile:
    return OutputFile(folder / "out", "out", KEY, lambda: may_publish)


class OutputMachine(RuleBasedStateMachine):
    """`model` is what the program sees, `published` what the host must have."""

    folder: Path

    def __init__(self) -> None:
        super().__init__()
        for leftover in self.folder.iterdir():
            leftover.unlink()
        self.output = output(self.folder)
        self.output.start_empty()
        self.model = bytearray()
        self.published: bytes | None = None

    @rule(at=st.integers(0, 30_000), data=st.binary(min_size=1, max_size=9_000))
    def write(self, at: int, data: bytes) -> None:
        assert self.output.write(memoryview(data), at) == len(data)
        self.model.extend(bytes(max(0, at + len(data) - len(self.model))))
        self.model[at : at + len(data)] = data

    @rule(size=st.integers(0, 40_000))
    def truncate(self, size: int) -> None:
        self.output.truncate(size)
        del self.model[size:]
        self.model.extend(bytes(size - len(self.model)))

    @rule()
    def commit(self) -> None:
        self.output.commit()
        self.published = bytes(self.model)

    @rule()
    def close_and_reopen(self) -> None:
        self.commit()
        self.output.release()

    @rule()
    def start_again(self) -> None:
        self.output.start_empty()
        self.model.clear()

    @invariant()
    def program_sees_the_model(self) -> None:
        buffer = bytearray(len(self.model) + 10)
        assert self.output.size == len(self.model)
        assert self.output.read_into(memoryview(buffer), 0) == len(self.model)
        assert buffer[: len(self.model)] == self.model

    @invariant()
    def host_has_the_last_commit(self) -> None:
        if self.published is None:
            assert not (self.folder / "out").exists()
        else:
            assert plaintext(self.folder / "out") == self.published

    def teardown(self) -> None:
        self.output.discard()
        self.output.release()
        assert [path.name for path in self.folder.iterdir()] in ([], ["out"])


def test_any_sequence_of_operations(tmp_path: Path) -> None:
    machine = type("Machine", (OutputMachine,), {"folder": tmp_path}).TestCase
    machine.settings = settings(
        max_examples=25, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
    )
    machine("runTest").runTest()


def test_nothing_is_published_after_a_failed_check(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"yesterday's")
    file = output(tmp_path, may_publish=False)
    file.start_empty()
    with pytest.raises(OSError):
        file.write(memoryview(b"x"), 0)
    with pytest.raises(OSError):
        file.commit()
    file.discard()
    assert (tmp_path / "out").read_bytes() == b"yesterday's"


def test_killed_writer_publishes_nothing_and_a_living_one_does(tmp_path: Path) -> None:
    for killed in (True, False):
        file = output(tmp_path)
        file.start_empty()
        handle = file.open(os.O_WRONLY)
        handle.write(memoryview(b"data"), 0)
        handle.abandon() if killed else handle.flush()
        handle.close()
        assert (tmp_path / "out").exists() is not killed
        assert not list(tmp_path.glob(f"{TEMPORARY_PREFIX}*"))


def test_older_version_put_back_by_the_host_is_refused(tmp_path: Path) -> None:
    file = output(tmp_path)
    file.start_empty()
    file.write(memoryview(b"first"), 0)
    file.commit()
    first = (tmp_path / "out").read_bytes()
    file.write(memoryview(b"second"), 0)
    file.commit()
    file.release()
    (tmp_path / "out").write_bytes(first)
    with pytest.raises(IntegrityError):
        file.read_into(memoryview(bytearray(10)), 0)
    with pytest.raises(IntegrityError):
        file.write(memoryview(b"x"), 0)


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    (tmp_path / f"{TEMPORARY_PREFIX}dead").write_bytes(b"left by a killed run")
    living = output(tmp_path)
    living.start_empty()
    remove_leftovers(tmp_path)
    assert len(list(tmp_path.glob(f"{TEMPORARY_PREFIX}*"))) == 1
    living.write(memoryview(b"fine"), 0)
    living.commit()
    living.release()
    assert plaintext(tmp_path / "out") == b"fine"


def test_two_commits_never_share_a_node(tmp_path: Path) -> None:
    file = output(tmp_path)
    file.start_empty()
    file.write(memoryview(bytes(20_000)), 0)
    file.commit()
    before = (tmp_path / "out").read_bytes()
    file.write(memoryview(bytes(20_000)), 0)
    file.commit()
    after = (tmp_path / "out").read_bytes()
    file.release()
    nodes = {before[at : at + 4096] for at in range(0, len(before), 4096)}
    assert not nodes & {after[at : at + 4096] for at in range(0, len(after), 4096)}
