"""JSON from strangers: the bounds hold, and every failure is a FormatError."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanthorn.errors import FormatError
from lanthorn.release.strict_json import (
    MAX_DEPTH,
    b64url_decode,
    b64url_encode,
    member_string,
    parse_object,
    require_members,
)

LIMIT = 100_000


def _nested(levels: int) -> bytes:
    return b'{"a":' * (levels - 1) + b"{}" + b"}" * (levels - 1)


def test_an_object_within_the_bounds_is_returned() -> None:
    assert parse_object(b'{"a":[1,{"b":null}]}', limit=LIMIT, what="it") == {"a": [1, {"b": None}]}
    assert parse_object(_nested(MAX_DEPTH), limit=LIMIT, what="it")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (_nested(MAX_DEPTH + 1), "deeper than 16"),
        (b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}", "limit|deeper"),
        (b'{"a":' + b"[" * 40_000 + b"]" * 40_000 + b"}", "deeper"),
        (b"[]", "not a JSON object"),
        (b"", "strict JSON"),
        (b'{"a":1,"a":2}', "strict JSON"),
        (b'{"a":NaN}', "strict JSON"),
        (b'{"a":-Infinity}', "strict JSON"),
        (b'{"a":1} x', "strict JSON"),
        (b'{"a":"\xff"}', "strict JSON"),
        (b'\xef\xbb\xbf{"a":1}', "strict JSON"),
        (b'{"a":' + b"9" * 5000 + b"}", "strict JSON"),
        (b'{"a":"' + b"x" * LIMIT + b'"}', "limit of 100000 bytes"),
    ],
)
def test_anything_else_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        parse_object(data, limit=LIMIT, what="it")


@given(st.binary(max_size=200))
def test_random_bytes_give_an_object_or_our_error(data: bytes) -> None:
    with contextlib.suppress(FormatError):
        assert isinstance(parse_object(data, limit=LIMIT, what="it"), dict)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=5), _VALUES, max_size=4))
def test_what_python_encodes_is_what_is_parsed(value: dict[str, object]) -> None:
    assert parse_object(json.dumps(value).encode(), limit=LIMIT, what="it") == value


def test_missing_and_unknown_members_are_refused_without_echoing_names() -> None:
    with pytest.raises(FormatError, match="lacks b"):
        require_members({"a": 1}, "it", required=frozenset("ab"))
    with pytest.raises(FormatError, match=r"1 unknown member\(s\)") as caught:
        require_members({"a": 1, "<script>": 2}, "it", required=frozenset("a"))
    assert "script" not in caught.value.message


@pytest.mark.parametrize("value", [None, 1, ["x"], "xxxx", "\ud800"])
def test_a_member_that_is_no_short_string_is_refused(value: object) -> None:
    with pytest.raises(FormatError):
        member_string({"a": value}, "a", "it", limit=3)


@given(st.binary(max_size=80))
def test_base64url_round_trip(data: bytes) -> None:
    assert b64url_decode(b64url_encode(data), "it") == data


@pytest.mark.parametrize("text", ["a", "ab=", "a+b/", "YR", "YQ==", "Y Q", "YQ\n", "ä"])
def test_other_spellings_of_base64url_are_refused(text: str) -> None:
    with pytest.raises(FormatError):
        b64url_decode(text, "it")
