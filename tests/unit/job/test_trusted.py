"""Lists of trusted files: the canonical order and bytes."""

from __future__ import annotations

import json
import random

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from lanthorn.errors import ManifestError
from lanthorn.job.paths import RootPath, all_clean, normalise
from lanthorn.job.trusted import Group, RootList, TrustedFile, TrustedLink, decode_root

NAMES = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\n\0/"), min_size=1, max_size=12
)


@given(
    st.lists(st.lists(NAMES, min_size=1, max_size=3).map("/".join), unique=True, max_size=20), st.randoms()
)
def test_order_and_bytes_do_not_depend_on_how_they_were_found(
    paths: list[str], shuffle: random.Random
) -> None:
    files = [TrustedFile(path, len(path), False, "aa" * 32, "bb" * 32) for path in paths]
    links = (TrustedLink("l", "../x"), TrustedLink("m", RootPath("system", "lib/é")))
    groups = [Group("b", "1", tuple(files), links), Group("a", "2", tuple(files[:1]), ())]
    first = RootList.build("system", groups).encode()
    shuffle.shuffle(files)
    groups = (
        [Group("a", "2", (TrustedFile(paths[0], len(paths[0]), False, "aa" * 32, "bb" * 32),), ())]
        if paths
        else []
    )
    second = RootList.build("system", [*groups, Group("b", "1", tuple(files), links[::-1])])
    assert second.encode() == first == rfc8785.dumps(json.loads(first))
    assert decode_root("system", first).encode() == first


def test_names_that_cannot_be_written_are_refused() -> None:
    for path in ("bad\udcff", "two\nlines"):
        with pytest.raises(ManifestError, match="file name"):
            RootList.build("job", [Group("job", "", (TrustedFile(path, 0, False, "", ""),), ())]).encode()


@given(
    st.binary(max_size=100)
    | st.sampled_from([b'{"root":"job","version":1}', b'{"groups":[1],"root":"job","version":1}'])
)
def test_malformed_lists_are_refused(data: bytes) -> None:
    with pytest.raises(ManifestError, match="malformed"):
        decode_root("job", data)


@given(st.lists(st.text(st.sampled_from("ab./\n\0"), max_size=6), max_size=4))
def test_clean_paths_are_those_that_normalise_to_themselves(paths: list[str]) -> None:
    def clean(path: str) -> bool:
        try:
            return normalise(path) == path
        except ValueError:
            return False

    assert all_clean(paths) == all(clean(path) for path in paths)
