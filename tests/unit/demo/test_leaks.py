"""The search must find whatever is planted, at any offset, and nothing else."""

from __future__ import annotations

import base64
import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanthorn.demo.failure import DemoFailedError
from lanthorn.demo.leaks import PIECE, Piece, Search, binary_pieces, key_pieces, text_pieces
from lanthorn.demo.parties import Party
from lanthorn.demo.stage import Props, Stage
from lanthorn.demo.story import Story

SECRET = random.Random(1).randbytes(4096)
KEY = random.Random(2).randbytes(16)
PRINTED = b"tiger cat\nEgyptian cat\ntabby, tabby cat\n"


def _search() -> Search:
    return Search(
        [
            *binary_pieces("photo.png", SECRET, step=64),
            *text_pieces("run.log", PRINTED),
            *key_pieces("model", KEY),
        ]
    )


@pytest.mark.parametrize("offset", [*range(9), 4090, 100_000 - PIECE])
def test_piece_is_found_at_any_offset(tmp_path: Path, offset: int) -> None:
    data = bytearray(random.Random(3).randbytes(100_000))
    data[offset : offset + PIECE] = SECRET[128 : 128 + PIECE]
    (tmp_path / "cipher").write_bytes(data)
    (leak,) = _search().folder(tmp_path)
    assert (leak.name, leak.offset) == ("photo.png (offset 128)", offset)
    assert SECRET[128:144].hex() not in str(leak) and str(tmp_path / "cipher") in str(leak)


@pytest.mark.parametrize(
    ("planted", "name"),
    [
        (SECRET[1000:1100], "photo.png"),
        (PRINTED, "run.log"),
        (b"printed: cat\nEgyptian cat", "run.log"),
        (KEY, "key model"),
        (KEY.hex().encode(), "key model in hex"),
        (base64.b64encode(KEY), "key model in base64"),
    ],
)
def test_every_kind_of_piece_is_found(tmp_path: Path, planted: bytes, name: str) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "terminal.txt").write_bytes(b"lanthorn: run ended: " + planted + b"\n")
    assert any(leak.name.startswith(name) for leak in _search().folder(tmp_path))


def test_clean_folder_has_no_leak(tmp_path: Path) -> None:
    (tmp_path / "cipher").write_bytes(random.Random(4).randbytes(1_000_003))
    (tmp_path / "labels").write_bytes(b"tabby, tabby cat|tiger cat|Egyptian cat")
    (tmp_path / "empty").touch()
    (tmp_path / "short").write_bytes(KEY[:15])
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("cipher")
    search = _search()
    assert search.folder(tmp_path) == []
    assert search.files == 4


def test_changed_file_is_searched_again_and_unchanged_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "result.txt"
    path.write_bytes(bytes(100))
    search = _search()
    assert search.folder(tmp_path) == [] and search.folder(tmp_path) == []
    assert search.files == 1
    path.write_bytes(bytes(100) + KEY)
    assert len(search.folder(tmp_path)) == 1


@given(st.binary(max_size=200), st.binary(min_size=PIECE, max_size=PIECE), st.integers(0, 200), st.booleans())
def test_agrees_with_a_plain_search(data: bytes, window: bytes, at: int, plant: bool) -> None:
    text = data[:at] + window + data[at:] if plant else data
    path = Path(os.environ["LANTHORN_HOME"]) / "searched"
    path.write_bytes(text)
    leaks = Search([Piece("it", window)]).file(path)
    assert [leak.offset for leak in leaks] == ([text.find(window)] if window in text else [])


def test_stage_refuses_a_planted_piece_and_names_it(tmp_path: Path) -> None:
    operator = Party("operator", tmp_path / "operator")
    props = Props(*(tmp_path / name for name in ("script", "model", "photo", "other", "python")))
    with open(os.devnull, "w") as nowhere:
        stage = Stage(
            tmp_path, Story(nowhere, colour=False), props, Party("owner", tmp_path / "owner"), operator
        )
        stage.search = _search()
        stage.refuse_leaks(operator.folder)
        operator.record(PRINTED.decode())
        with pytest.raises(DemoFailedError, match=r"16 bytes of run\.log found in .*/operator/terminal\.txt"):
            stage.refuse_leaks(operator.folder)
