"""lanthorn.toml: what is accepted, and everything near it that is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanthorn.errors import StorageError, UsageError
from lanthorn.job.manifest import Job, load_job, parse_job

PIN = "sha256:" + "0f" * 32
FULL = f"""
[job]
name = "classify"
command = ["python", "classify.py", "photo.png"]
python = ".venv/bin/python"
files = ["labels.txt", "lib/*.py"]
system = ["/usr/lib/libfoo.so"]
stdin = "empty"
stdio = "protected"
network = []
log_key = "log"
[environment]
OMP_NUM_THREADS = "2"
[[protected]]
path = "./model.pth"
key = "model"
access = "read"
kind = "file"
floating = true
[[protected]]
path = "out//"
key = "result"
access = "write"
kind = "folder"
[keys.model]
broker = "home"
[keys.result]
broker = "away"
[keys.log]
broker = "away"
[brokers.home]
url = "https://127.0.0.1:8443"
spki = ["{PIN}"]
[brokers.away]
url = "https://[::1]:9/"
spki = ["{PIN}", "sha256:{"1f" * 32}"]
"""


def parse(text: str) -> Job:
    return parse_job(text.encode(), Path("/job"))


def test_everything_is_read() -> None:
    job = parse(FULL)
    assert job.command == ("python", "classify.py", "photo.png")
    assert [(entry.path, entry.kind, entry.floating) for entry in job.protected] == [
        ("model.pth", "file", True),
        ("out", "folder", False),
    ]
    assert job.keys == {"log": "away", "model": "home", "result": "away"}
    assert job.brokers["away"].url == "https://[::1]:9"
    assert (job.stdio, job.log_key, job.files) == ("protected", "log", ("labels.txt", "lib/*.py"))


def test_defaults() -> None:
    minimal = f"""
    [job]
    name = "a"
    command = ["python"]
    [[protected]]
    path = "in"
    key = "k"
    access = "read"
    [[protected]]
    path = "out"
    key = "r"
    access = "write"
    [brokers.b]
    url = "https://h:1"
    spki = ["{PIN}"]
    """
    job = parse(minimal)
    assert (job.stdin, job.stdio, job.log_key, job.network) == ("empty", "protected", "r", ())
    assert job.keys == {"k": "b", "r": "b"}
    assert [entry.kind for entry in job.protected] == [None, "file"]


MUTATIONS = [
    ('name = "classify"', 'name = "Classify job"', "name"),
    ('name = "classify"', "", "name is missing"),
    ('name = "classify"', 'name = "classify"\nnmae = 1', "unknown key 'nmae'"),
    ("[environment]", "[enviroment]", "unknown key 'enviroment'"),
    ("command = ", "comand = ", "unknown key 'comand'"),
    ("access = ", "acess = ", "unknown key 'acess'"),
    ('command = ["python", "classify.py", "photo.png"]', "command = []", "command: is empty"),
    ('command = ["python", "classify.py", "photo.png"]', 'command = "python"', "expected a list"),
    ('command = ["python", "classify.py", "photo.png"]', 'command = ["python", 3]', "strings only"),
    ('"photo.png"]', '"a\\u0000b"]', "NUL"),
    ('files = ["labels.txt", "lib/*.py"]', 'files = ["../x"]', "'..' is not allowed"),
    ('files = ["labels.txt", "lib/*.py"]', 'files = ["/etc/passwd"]', "absolute"),
    ('system = ["/usr/lib/libfoo.so"]', 'system = ["libfoo.so"]', "not an absolute path"),
    ('stdin = "empty"', 'stdin = "operator"', "stdin"),
    ('stdio = "protected"', 'stdio = "off"', "stdio"),
    ("network = []", 'network = ["example.org:443"]', "network"),
    ('log_key = "log"', 'log_key = "Log!"', "log_key"),
    ('OMP_NUM_THREADS = "2"', "OMP_NUM_THREADS = 2", "expected a string"),
    ('OMP_NUM_THREADS = "2"', '"A=B" = "2"', "environment variable"),
    ('path = "./model.pth"', 'path = "../model.pth"', "'..' is not allowed"),
    ('path = "./model.pth"', 'path = "/model.pth"', "absolute"),
    ('path = "./model.pth"', 'path = "."', "itself"),
    ('path = "./model.pth"', 'path = "a/.lanthorn-index"', "reserved"),
    ('path = "./model.pth"', f'path = "{"x" * 772}"', "771"),
    ('path = "./model.pth"', 'path = "out/model.pth"', "overlap"),
    ('path = "./model.pth"', 'path = "out"', "overlap"),
    ('access = "read"', 'access = "both"', "access"),
    ('kind = "file"', 'kind = "pipe"', "kind"),
    ("floating = true", 'floating = "yes"', "floating"),
    ('kind = "folder"', 'kind = "folder"\nfloating = true', "floating"),
    ('[keys.model]\nbroker = "home"', '[keys.model]\nbroker = "nobody"', "nobody"),
    ('[keys.model]\nbroker = "home"', "[keys.model]", "broker"),
    ('[keys.model]\nbroker = "home"', '[keys.modle]\nbroker = "home"', "used by no"),
    ('url = "https://127.0.0.1:8443"', 'url = "http://127.0.0.1:8443"', "https"),
    ('url = "https://127.0.0.1:8443"', 'url = "https://a:b@h"', "https"),
    ('url = "https://127.0.0.1:8443"', 'url = "https://h:99999"', "https"),
    (f'spki = ["{PIN}"]', "spki = []", "one or two"),
    (f'spki = ["{PIN}"]', f'spki = ["{PIN}", "{PIN}"]', "one or two"),
    (f'spki = ["{PIN}"]', 'spki = ["sha256:12"]', "64 lower-case"),
    (f'spki = ["{PIN}"]', f'spki = ["{PIN.upper()}"]', "64 lower-case"),
    ("[brokers.home]", "[brokers.HOME]", "broker"),
]


@pytest.mark.parametrize(("old", "new", "words"), MUTATIONS)
def test_near_misses_are_refused_by_name(old: str, new: str, words: str) -> None:
    assert old in FULL
    with pytest.raises(UsageError, match=r"lanthorn\.toml") as caught:
        parse(FULL.replace(old, new, 1))
    assert words in caught.value.message
    assert "\n" not in caught.value.message


def test_a_protected_log_needs_a_key() -> None:
    with pytest.raises(UsageError, match="log_key"):
        parse('[job]\nname = "a"\ncommand = ["python"]\n')
    assert parse('[job]\nname = "a"\ncommand = ["python"]\nstdio = "operator"\n').log_key is None


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_bytes_are_a_job_or_a_usage_error(data: bytes) -> None:
    with pytest.raises(UsageError):
        parse_job(data, Path("/job"))


@given(st.data())
def test_damaged_text_never_raises_anything_else(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(FULL) - 1))
    text = FULL[:at] + data.draw(st.text(max_size=3)) + FULL[at + data.draw(st.integers(0, 20)) :]
    try:
        parse(text)
    except UsageError as error:
        assert "\n" not in error.message


def test_missing_and_oversized_files(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        load_job(tmp_path)
    (tmp_path / "lanthorn.toml").write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(StorageError, match="limit"):
        load_job(tmp_path)
