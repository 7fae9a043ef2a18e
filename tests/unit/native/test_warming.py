"""The list for the read-ahead: whatever a host writes there, only settled questions about trusted files are asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lanthorn.job.nodes import FileNode, SliceNode
from lanthorn.job.view import LinkNode, LiteralNode, View
from lanthorn.targets.native.warming import HINT_NAME, LIST, LOOK, MAX_STEPS, PIECE, READ, Trace, load_hint


def view() -> View:
    made = View({"job": "/job", "system": "/"})
    file = FileNode.__new__(FileNode)
    made.put("/usr/lib/libc.so", file)
    made.put("/usr/lib/x.pyc", SliceNode.__new__(SliceNode, None, 0, 1, "x"))  # type: ignore[arg-type]
    made.put("/usr/link", LinkNode("lib"))
    made.put("/usr/made", LiteralNode(b""))
    made.put("/job/main.py", file)
    return made


def load(folder: Path, steps: object) -> list[tuple[str, str, int]]:
    (folder / HINT_NAME).write_text(json.dumps(steps))
    return load_hint(folder, view())


@pytest.mark.parametrize(
    "step",
    [
        (READ, "/usr/lib/libc.so", 0),
        (READ, "/usr/lib/x.pyc", PIECE),
        (READ, "/job/main.py", 0),
        (LIST, "/usr/lib", 0),
        (LOOK, "/usr/lib/absent.so", 0),
    ],
)
def test_settled_questions_are_asked(tmp_path: Path, step: tuple[str, str, int]) -> None:
    assert load(tmp_path, [step]) == [step]


@pytest.mark.parametrize(
    "step",
    [
        (READ, "/usr/lib/absent", 0),
        (READ, "/usr/link", 0),
        (READ, "/usr/made", 0),
        (READ, "/usr/lib", 0),
        (READ, "/usr/lib/libc.so", -1),
        (READ, "/usr/lib/libc.so", 1.5),
        (READ, "/usr/lib/libc.so", True),
        (READ, 7, 0),
        (READ, "usr/lib/libc.so", 0),
        (READ, "/usr/lib/../lib/libc.so", 0),
        (READ, "/job/data.bin", 0),
        (LIST, "/job", 0),
        (LIST, "/usr/lib/libc.so", 0),
        (LOOK, "/job/result.txt", 0),
        (LOOK, "/job", 0),
        (LOOK, "/usr/lib/libc.so", 0),
        (LOOK, "/usr/absent/file", 0),
        (LOOK, "/usr/lib/..", 0),
        (LOOK, "/usr/lib/", 0),
        ("write", "/usr/lib/libc.so", 0),
        (None, "/usr/lib/libc.so", 0),
    ],
)
def test_anything_else_is_not(tmp_path: Path, step: object) -> None:
    assert load(tmp_path, [step]) == []


@pytest.mark.parametrize("steps", [None, 7, "x", {}, [1], [[1, 2]], [[1, 2, 3, 4]], [[[], {}, 0]], "\x00"])
def test_malformed_lists_are_ignored(tmp_path: Path, steps: object) -> None:
    assert load(tmp_path, steps) == []


def test_missing_cut_and_oversized_lists_are_ignored(tmp_path: Path) -> None:
    assert load_hint(tmp_path, view()) == []
    (tmp_path / HINT_NAME).write_text('[["read", "/usr')
    assert load_hint(tmp_path, view()) == []
    (tmp_path / HINT_NAME).write_bytes(b" " * (5 << 20))
    assert load_hint(tmp_path, view()) == []


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200))
def test_any_bytes_are_survived(tmp_path: Path, data: bytes) -> None:
    (tmp_path / HINT_NAME).write_bytes(data)
    assert load_hint(tmp_path, view()) == []


def test_trace_keeps_order_and_each_question_once(tmp_path: Path) -> None:
    trace = Trace()
    trace.read("/usr/lib/libc.so", PIECE - 10, 20)
    trace.listed("/usr/lib")
    trace.read("/usr/lib/libc.so", 5, 10)
    trace.absent("/usr/lib/absent")
    trace.save(tmp_path, known=0)
    assert load_hint(tmp_path, view()) == [
        (READ, "/usr/lib/libc.so", 0),
        (READ, "/usr/lib/libc.so", PIECE),
        (LIST, "/usr/lib", 0),
        (LOOK, "/usr/lib/absent", 0),
    ]


def test_list_is_replaced_only_by_one_that_says_more(tmp_path: Path) -> None:
    trace = Trace()
    for number in range(11):
        trace.absent(f"/usr/lib/{number}")
    trace.save(tmp_path, known=10)
    assert not (tmp_path / HINT_NAME).exists()
    trace.save(tmp_path, known=9)
    assert len(load_hint(tmp_path, view())) == 11


def test_trace_is_bounded(tmp_path: Path) -> None:
    trace = Trace()
    trace.read("/usr/lib/libc.so", 0, (MAX_STEPS + 100) * PIECE)
    trace.save(tmp_path, known=0)
    assert len(load_hint(tmp_path, view())) == MAX_STEPS
