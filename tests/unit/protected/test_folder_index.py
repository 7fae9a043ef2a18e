"""The index of a protected folder: exact encoding, strict parsing, no link that leaves."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanthorn.errors import FormatError, IntegrityError
from lanthorn.protected import FileEntry, FolderEntry, FolderIndex, LinkEntry, encrypt_stream
from lanthorn.protected.folder import Entry, decode_index, encode_index, link_stays_inside
from tests.unit.protected.helpers import KEY, OTHER_KEY, new_store

VERSION = "ab" * 32
NAMES = st.text(min_size=1, max_size=12).filter(
    lambda s: (
        s not in (".", "..") and not {"/", "\0"} & set(s) and not any("\ud800" <= c <= "\udfff" for c in s)
    )
)
ENTRIES = st.dictionaries(
    NAMES,
    st.one_of(
        st.builds(FileEntry, st.integers(0, 1 << 46), st.just(VERSION)),
        st.builds(LinkEntry, NAMES),
        st.just(FolderEntry()),
    ),
    max_size=20,
)


def test_the_encoding_is_fixed() -> None:
    entries: dict[str, Entry] = {
        "é": FolderEntry(),
        "a/l": LinkEntry("b.png"),
        "a/b.png": FileEntry(5, VERSION),
        "z": FileEntry(0, VERSION),
    }
    assert encode_index(entries) == (
        b'{"entries":[{"path":"a/b.png","size":5,"version":"' + VERSION.encode() + b'"},'
        b'{"link":"b.png","path":"a/l"},'
        b'{"path":"z","size":0,"version":"' + VERSION.encode() + b'"},'
        b'{"folder":true,"path":"\xc3\xa9"}],"version":1}'
    )


@given(ENTRIES)
def test_decoding_gives_back_what_was_encoded(entries: dict[str, Entry]) -> None:
    assert decode_index(encode_index(entries), "x") == entries
    assert list(decode_index(encode_index(entries), "x")) == sorted(entries, key=str.encode)


@given(st.binary(max_size=200))
def test_no_bytes_raise_something_foreign(data: bytes) -> None:
    with pytest.raises(FormatError):
        decode_index(data, "x")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["path", "size", "version", "link", "folder", "x"]), inner, max_size=4
        )
    ),
)


@given(JSON)
def test_no_json_raises_something_foreign(value: object) -> None:
    for document in (value, {"version": 1, "entries": value}, {"version": 1, "entries": [value]}):
        try:
            decode_index(json.dumps(document).encode(), "x")
        except FormatError:
            continue


FILE = {"path": "a", "size": 1, "version": VERSION}
BAD: dict[str, object] = {
    "a list": [],
    "no entries": {"version": 1},
    "unknown field": {"version": 1, "entries": [], "more": 1},
    "other version": {"version": 2, "entries": []},
    "version true": {"version": True, "entries": []},
    "version text": {"version": "1", "entries": []},
    "entries no list": {"version": 1, "entries": {}},
    "entry no object": {"version": 1, "entries": [1]},
    "no path": {"version": 1, "entries": [{"size": 1, "version": VERSION}]},
    "path a number": {"version": 1, "entries": [{**FILE, "path": 1}]},
    **{
        f"path {path[:9]!r}": {"version": 1, "entries": [{**FILE, "path": path}]}
        for path in ("", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a\0", ".lanthorn-index")
    },
    "index below": {"version": 1, "entries": [{**FILE, "path": "a/.lanthorn-index"}]},
    "path lone surrogate": {"version": 1, "entries": [{**FILE, "path": "\udc80"}]},
    "path too long": {"version": 1, "entries": [{**FILE, "path": "x" * 4097}]},
    "path too deep": {"version": 1, "entries": [{**FILE, "path": "x/" * 200 + "x"}]},
    "size negative": {"version": 1, "entries": [{**FILE, "size": -1}]},
    "size true": {"version": 1, "entries": [{**FILE, "size": True}]},
    "size float": {"version": 1, "entries": [{**FILE, "size": 1.0}]},
    "size huge": {"version": 1, "entries": [{**FILE, "size": 1 << 60}]},
    "version upper case": {"version": 1, "entries": [{**FILE, "version": "AB" * 32}]},
    "version short": {"version": 1, "entries": [{**FILE, "version": "ab"}]},
    "entry unknown field": {"version": 1, "entries": [{**FILE, "mode": 420}]},
    "file and link": {"version": 1, "entries": [{**FILE, "link": "b"}]},
    "file without version": {"version": 1, "entries": [{"path": "a", "size": 1}]},
    "path alone": {"version": 1, "entries": [{"path": "a"}]},
    "folder false": {"version": 1, "entries": [{"path": "a", "folder": False}]},
    "folder 1": {"version": 1, "entries": [{"path": "a", "folder": 1}]},
    "link leaves": {"version": 1, "entries": [{"path": "a", "link": "../b"}]},
    "link absolute": {"version": 1, "entries": [{"path": "a", "link": "/b"}]},
    "link empty": {"version": 1, "entries": [{"path": "a", "link": ""}]},
    "out of order": {"version": 1, "entries": [{**FILE, "path": "b"}, FILE]},
    "twice": {"version": 1, "entries": [FILE, FILE]},
    "below a file": {"version": 1, "entries": [FILE, {**FILE, "path": "a/b"}]},
    "below a link": {"version": 1, "entries": [{"path": "a", "link": "b"}, {**FILE, "path": "a/b"}]},
    "below an empty folder": {
        "version": 1,
        "entries": [{"path": "a", "folder": True}, {**FILE, "path": "a/b/c"}],
    },
}


@pytest.mark.parametrize("name", BAD)
def test_refuses(name: str) -> None:
    with pytest.raises(FormatError):
        decode_index(json.dumps(BAD[name]).encode(), "x")


def test_the_base_of_these_mutations_is_accepted() -> None:
    assert decode_index(json.dumps({"version": 1, "entries": [FILE]}).encode(), "x") == {
        "a": FileEntry(1, VERSION)
    }


@pytest.mark.parametrize(
    "text", ['{"version":1,"version":1,"entries":[]}', "[" * 100000, '{"version":1,"entries":[']
)
def test_refuses_json_that_others_read_differently(text: str) -> None:
    with pytest.raises(FormatError, match="not JSON"):
        decode_index(text.encode(), "x")


@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "a/c", "b/d", "a/e/f"]),
        st.lists(st.sampled_from(["..", "a", "b", "c", "d", "e"]), min_size=1, max_size=4).map("/".join),
        max_size=5,
    )
)
def test_links_that_pass_cannot_leave_together(links: dict[str, str]) -> None:
    """The kernel is the judge: make the links, follow each, and see whether it got out."""
    import tempfile

    with tempfile.TemporaryDirectory() as outer:
        top = Path(outer).resolve() / "top"
        (top / "a" / "e").mkdir(parents=True)
        (top / "b").mkdir()
        for path, target in links.items():
            if link_stays_inside(path, target) and not os.path.lexists(top / path):
                (top / path).symlink_to(target)
        for folder, folders, files in os.walk(top):
            for name in (*folders, *files):
                try:
                    where = (Path(folder) / name).resolve(strict=True)
                except (OSError, RuntimeError):
                    continue
                assert where == top or top in where.parents


def test_an_index_is_bound_to_its_folder_key_and_version() -> None:
    entries: dict[str, Entry] = {"a": FileEntry(1, VERSION)}
    with new_store() as store:
        index = FolderIndex.build(entries, store, KEY, folder="data")
        assert FolderIndex.load(store, KEY, folder="data", version=index.version).entries == entries
        for key, folder, version in (
            (OTHER_KEY, "data", None),
            (KEY, "other", None),
            (KEY, "data", "0" * 64),
        ):
            with pytest.raises(IntegrityError):
                FolderIndex.load(store, key, folder=folder, version=version)


def test_an_ordinary_file_is_no_index() -> None:
    with new_store() as store:
        encrypt_stream(io.BytesIO(b"not an index"), store, KEY, "data/.lanthorn-index")
        with pytest.raises(FormatError, match="not a folder index"):
            FolderIndex.load(store, KEY, folder="data", version=None)


def test_an_index_over_the_limit_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lanthorn.protected.folder.MAX_INDEX_SIZE", 10)
    with new_store() as store:
        FolderIndex.build({"a": FileEntry(1, VERSION)}, store, KEY, folder="data")
        with pytest.raises(FormatError, match="over a limit"):
            FolderIndex.load(store, KEY, folder="data", version=None)


@pytest.mark.parametrize("path", ["../a", "", "a/../b", "\udcff"])
def test_build_refuses_what_load_would(path: str) -> None:
    with new_store() as store, pytest.raises(FormatError):
        FolderIndex.build({path: FolderEntry()}, store, KEY, folder="data")
