"""lanthorn.lock: canonical bytes, what is outside the digest, and what is refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rfc8785
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from lanthorn.canonical import labelled_sha256
from lanthorn.errors import ManifestError, StorageError
from lanthorn.job.lock import Lock, load_lock, lock_from_canonical, parse_lock

ROOT = {"files": 1, "bytes": 2, "digest": "0a" * 32}
VALUES: dict[str, Any] = {
    "lanthorn_lock": 1,
    "job": {
        "version": 1,
        "name": "classify",
        "program": {"root": "environment", "path": "bin/python"},
        "arguments": ["classify.py"],
        "stdin": "empty",
        "stdio": "protected",
        "network": [],
        "log_key": "result",
        "environment": {"OMP_NUM_THREADS": "2"},
        "keys": {"model": "home", "result": "home"},
        "brokers": {"home": ["sha256:" + "ab" * 32]},
        "protected": [
            {"path": "model.pth", "key": "model", "access": "read", "kind": "file", "version": "cd" * 32},
            {"path": "new.bin", "key": "model", "access": "read", "kind": "file", "floating": True},
            {"path": "result.txt", "key": "result", "access": "write", "kind": "file"},
        ],
        "python": {
            "implementation": "cpython",
            "version": "3.11.7",
            "cache_tag": "cpython-311",
            "executable": "bin/python3.11",
            "venv": True,
        },
        "roots": {name: ROOT for name in ("job", "environment", "interpreter", "system", "bytecode")},
    },
    "brokers": {"home": {"url": "https://127.0.0.1:8443"}},
    "locations": {"environment": ".venv", "interpreter": "/opt/python"},
    "reference": {"gramine-sgx": {"mrenclave": "00" * 32}},
}


def parse(values: dict[str, Any]) -> Lock:
    return parse_lock(tomli_w.dumps(values).encode(), Path("/job"))


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    values = copy.deepcopy(VALUES)
    change(values)
    return values


def test_the_digest_is_over_the_canonical_job() -> None:
    lock = parse(VALUES)
    assert lock.canonical == rfc8785.dumps(VALUES["job"])
    assert lock.digest == labelled_sha256("lanthorn-job-v1", lock.canonical)
    assert lock.locations["environment"] == Path("/job/.venv")
    assert lock.locations["interpreter"] == Path("/opt/python")
    assert lock.locations["job"] == Path("/job")
    assert lock.brokers["home"].url == "https://127.0.0.1:8443"
    assert lock.reference["gramine-sgx"]["mrenclave"] == "00" * 32


def test_access_of_keys_counts_the_log() -> None:
    lock = parse(changed(lambda v: v["job"].update(log_key="model")))
    assert lock.access_of("model") == {"read", "write"}
    assert lock.access_of("result") == {"write"}
    assert lock.access_of("other") == frozenset()


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v["brokers"]["home"].update(url="https://elsewhere:1"),
        lambda v: v["locations"].update(environment="/elsewhere"),
        lambda v: v.pop("reference"),
        lambda v: v.pop("brokers"),
    ],
)
def test_addresses_and_places_are_outside_the_digest(change: Callable[[dict[str, Any]], object]) -> None:
    assert parse(changed(change)).digest == parse(VALUES).digest


@pytest.mark.parametrize(
    "change",
    [
        lambda job: job.update(arguments=["classify.py", "-v"]),
        lambda job: job["environment"].update(OMP_NUM_THREADS="3"),
        lambda job: job["protected"][0].update(version="ce" * 32),
        lambda job: job["roots"].update(job={**ROOT, "digest": "0b" * 32}),
        lambda job: job["brokers"].update(home=["sha256:" + "ac" * 32]),
        lambda job: job.update(stdio="operator"),
        lambda job: job["python"].update(version="3.11.8"),
    ],
)
def test_everything_in_the_job_is_in_the_digest(change: Callable[[dict[str, Any]], object]) -> None:
    assert parse(changed(lambda values: change(values["job"]))).digest != parse(VALUES).digest


def test_a_broker_reads_back_what_it_stored() -> None:
    lock = parse(VALUES)
    again = lock_from_canonical(lock.canonical)
    assert (again.digest, again.protected, again.keys) == (lock.digest, lock.protected, lock.keys)
    assert again.brokers["home"].url is None
    for data in (
        lock.canonical + b" ",
        json.dumps(VALUES["job"], indent=1).encode(),
        b"[]",
        b"{",
        b"\xff",
        b"[" * 9999,
    ):
        with pytest.raises(ManifestError):
            lock_from_canonical(data)


def _set(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        *folders, last = path.split("/")
        here: Any = values
        for name in folders:
            here = here[int(name)] if isinstance(here, list) else here[name]
        if value is None:
            del here[int(last) if isinstance(here, list) else last]
        else:
            here[int(last) if isinstance(here, list) else last] = value

    return change


MUTATIONS = [
    ("lanthorn_lock", 2, "not supported"),
    ("lanthorn_lock", True, "expected a number"),
    ("lanthorn_lock", None, "missing"),
    ("extra", 1, "unknown key 'extra'"),
    ("job/extra", 1, "unknown key 'extra'"),
    ("job/version", 2, "not supported"),
    ("job/name", "No Name", "name"),
    ("job/program/root", "system", "root"),
    ("job/program/path", "../bin/sh", "'..'"),
    ("job/program/path", "bin//python", "normalised"),
    ("job/program/extra", "x", "unknown key"),
    ("job/arguments", ["a\0b"], "NUL"),
    ("job/arguments", "main.py", "list"),
    ("job/stdin", "operator", "stdin"),
    ("job/stdio", "none", "stdio"),
    ("job/network", ["host:1"], "no network"),
    ("job/log_key", None, "log_key: is missing"),
    ("job/log_key", "unknown", "exactly the keys"),
    ("job/environment/BAD NAME", "1", "environment variable"),
    ("job/environment/OMP_NUM_THREADS", 2, "string"),
    ("job/keys/model", "away", "no broker"),
    ("job/keys/model", None, "exactly the keys"),
    ("job/keys/more", "home", "exactly the keys"),
    ("job/brokers/home", [], "one or two"),
    ("job/brokers/home", ["sha256:" + "AB" * 32], "one or two"),
    ("job/brokers/away", ["sha256:" + "ab" * 32], "exactly the brokers"),
    ("job/brokers", None, "missing"),
    ("job/protected/0/version", None, "version"),
    ("job/protected/0/version", "cd" * 31, "64"),
    ("job/protected/0/version", "CD" * 32, "64"),
    ("job/protected/1/version", "cd" * 32, "version"),
    ("job/protected/2/version", "cd" * 32, "version"),
    ("job/protected/2/floating", True, "floating"),
    ("job/protected/0/path", "/model.pth", "absolute"),
    ("job/protected/0/path", "a/../model.pth", "'..'"),
    ("job/protected/0/path", "zzz", "sorted"),
    ("job/protected/0/path", "new.bin", "overlap"),
    ("job/protected/0/access", "execute", "access"),
    ("job/protected/0/kind", "link", "kind"),
    ("job/protected/0/key", "../k", "name"),
    ("job/protected/0/extra", 1, "unknown key"),
    ("job/python/version", "3.11\nhome = /evil", "version"),
    ("job/python/executable", "/usr/bin/python", "absolute"),
    ("job/python/venv", "yes", "true or false"),
    ("job/roots/system", None, "missing"),
    ("job/roots/more", ROOT, "unknown key"),
    ("job/roots/job", {**ROOT, "digest": "00"}, "64"),
    ("job/roots/job", {**ROOT, "files": -1}, "number"),
    ("job/roots/job", {**ROOT, "bytes": 2**60}, "canonical"),
    ("locations/job", "/elsewhere", "root with a location"),
    ("brokers/home/url", "http://127.0.0.1", "https"),
    ("brokers/home/spki", "x", "unknown key"),
]


@pytest.mark.parametrize(("path", "value", "words"), MUTATIONS)
def test_mutations_are_refused(path: str, value: object, words: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parse(changed(_set(path, value)))
    assert words in caught.value.message
    assert "\n" not in caught.value.message


def test_stdio_operator_needs_no_log_key() -> None:
    def change(values: dict[str, Any]) -> None:
        values["job"].update(stdio="operator")
        del values["job"]["log_key"]

    assert parse(changed(change)).log_key is None


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_in_one_way(data: bytes) -> None:
    for parser in (lambda: parse_lock(data, Path("/job")), lambda: lock_from_canonical(data)):
        with pytest.raises(ManifestError):
            parser()


JSON = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
PLACES = [path for path, _, _ in MUTATIONS]


@given(st.sampled_from(PLACES), JSON)
def test_any_value_anywhere_is_accepted_or_refused(path: str, value: object) -> None:
    job = changed(_set(path, value))["job"]
    # json.dumps puts spaces where the canonical encoding has none, so even a valid job is refused.
    with pytest.raises(ManifestError):
        lock_from_canonical(json.dumps(job).encode())


def test_missing_and_oversized(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such file"):
        load_lock(tmp_path / "lanthorn.lock")
    (tmp_path / "lanthorn.lock").write_bytes(b"#" * ((16 << 20) + 1))
    with pytest.raises(StorageError, match="limit"):
        load_lock(tmp_path / "lanthorn.lock")
