"""The whole handshake: real server, real TLS, real (simulated) quotes, real SQLite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lanthorn.keys import derive_output_key
from tests.unit.broker.lab import Lab, Served


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    made = Lab(tmp_path_factory.mktemp("lab"))
    made.set_up()
    made.run("broker", "allow", str(made.lock()))
    return made


@pytest.fixture(scope="module")
def served(lab: Lab) -> Iterator[Served]:
    with lab.serving() as running:
        yield running


def test_an_attested_job_gets_its_keys(lab: Lab, served: Served) -> None:
    with lab.client(served) as client:
        run_id = client.attest()
        assert client.fetch_key("model") == lab.keyring.load("model")
        assert client.fetch_key("both") == lab.keyring.load("both")
        for name in ("result", "both", "log"):
            expected = derive_output_key(lab.keyring.load(name), run_id, name)
            assert client.fetch_run_key(name) == expected
            assert client.fetch_run_key(name) != lab.keyring.load(name)


def test_each_run_has_its_own_output_key(lab: Lab, served: Served) -> None:
    with lab.client(served) as one, lab.client(served) as other:
        assert one.attest() != other.attest()
        assert one.fetch_run_key("result") != other.fetch_run_key("result")
