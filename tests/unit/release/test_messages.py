"""The messages of the KBS protocol: what is built is what is parsed; what is malformed is refused."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanthorn.attestation.evidence import kbs_report_data
from lanthorn.errors import FormatError
from lanthorn.release import messages
from lanthorn.release.strict_json import b64url_encode

JWK = {"kty": "EC", "crv": "P-256", "alg": "ECDH-ES+A256KW", "x": "xx", "y": "yy"}
REPORT_DATA = (
    "b2131353a45d172410304f3682d512e8557ff7e149e9dd265418b45993cbb665e4942627796083a47b5283ed23ef0a2c"
    "00000000000000000000000000000000"
)
ATTESTATION = messages.Attestation(nonce="n", tee_pubkey={**JWK}, quote=b"quote")


def test_report_data_is_the_one_that_both_sides_of_the_protocol_compute() -> None:
    """The exact bytes that are hashed: members sorted, no white space, further evidence as a string."""
    canonical = (
        b'{"additional-evidence":"","nonce":"n","tee-pubkey":'
        b'{"alg":"ECDH-ES+A256KW","crv":"P-256","kty":"EC","x":"xx","y":"yy"}}'
    )
    assert kbs_report_data("n", JWK, "") == hashlib.sha384(canonical).digest() + bytes(16)
    assert kbs_report_data("n", JWK, "").hex() == REPORT_DATA


def test_the_request_on_the_wire() -> None:
    data = messages.Request("0.4.0", "tdx").to_bytes()
    assert json.loads(data) == {"version": "0.4.0", "tee": "tdx", "extra-params": {}}
    assert messages.Request.parse(data) == messages.Request("0.4.0", "tdx")


def test_the_challenge_on_the_wire() -> None:
    assert json.loads(messages.Challenge("n").to_bytes()) == {"nonce": "n", "extra-params": {}}
    assert messages.Challenge.parse(b'{"nonce":"n"}') == messages.Challenge("n")
    selected = b'{"nonce":"n","extra-params":{"selected-hash-algorithm":"SHA384"}}'
    assert messages.Challenge.parse(selected) == messages.Challenge("n")


def test_the_attestation_on_the_wire() -> None:
    assert json.loads(ATTESTATION.to_bytes()) == {
        "runtime-data": {"nonce": "n", "tee-pubkey": JWK},
        "tee-evidence": {
            "primary_evidence": {"quote": base64.b64encode(b"quote").decode()},
            "additional_evidence": "",
        },
    }
    assert messages.Attestation.parse(ATTESTATION.to_bytes()) == ATTESTATION


@pytest.mark.parametrize(
    ("text", "devices"), [("", False), ("{}", False), ('{"nvidia":1}', True), (" ", True)]
)
def test_additional_evidence_other_than_none_is_noticed(text: str, devices: bool) -> None:
    attestation = messages.Attestation("n", {**JWK}, b"q", additional_evidence=text)
    assert attestation.names_devices() is devices


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b'{"version":"0.4.0"}',
        b'{"version":4,"tee":"tdx"}',
        b'{"version":"0.4.0","tee":["tdx"]}',
        b'{"version":"0.4.0","tee":"tdx","more":1}',
        b'{"version":"0.4.0","tee":"' + b"x" * 200 + b'"}',
        b'{"version":"0.4.0","tee":"tdx","extra-params":"' + b"x" * messages.MAX_REQUEST + b'"}',
    ],
)
def test_a_malformed_request_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        messages.Request.parse(data)


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b'{"nonce":""}',
        b'{"nonce":1}',
        b'{"nonce":"' + b"n" * 600 + b'"}',
        b'{"nonce":"n","extra-params":{"selected-hash-algorithm":"sha256"}}',
    ],
)
def test_a_malformed_challenge_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        messages.Challenge.parse(data)


MUTATIONS: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("no runtime data", lambda m: m.pop("runtime-data")),
    ("no evidence", lambda m: m.pop("tee-evidence")),
    ("unknown member", lambda m: m.update(x=1)),
    ("unknown in runtime data", lambda m: m["runtime-data"].update(x=1)),
    ("unknown in evidence", lambda m: m["tee-evidence"].update(x=1)),
    ("unknown in primary evidence", lambda m: m["tee-evidence"]["primary_evidence"].update(x=1)),
    ("nonce is a number", lambda m: m["runtime-data"].update(nonce=1)),
    ("nonce is long", lambda m: m["runtime-data"].update(nonce="n" * 513)),
    ("key is a string", lambda m: m["runtime-data"].update({"tee-pubkey": "k"})),
    ("additional evidence is an object", lambda m: m["tee-evidence"].update(additional_evidence={})),
    ("primary evidence is a string", lambda m: m["tee-evidence"].update(primary_evidence="q")),
    ("quote is not base64", lambda m: m["tee-evidence"]["primary_evidence"].update(quote="*")),
    ("quote is padded wrongly", lambda m: m["tee-evidence"]["primary_evidence"].update(quote="abc")),
    ("quote is not ASCII", lambda m: m["tee-evidence"]["primary_evidence"].update(quote="ää==")),
    ("quote is long", lambda m: m["tee-evidence"]["primary_evidence"].update(quote="A" * 70_000)),
]


@pytest.mark.parametrize("mutate", [m for _, m in MUTATIONS], ids=[n for n, _ in MUTATIONS])
def test_a_malformed_attestation_is_refused(mutate: Callable[[dict[str, Any]], object]) -> None:
    message = json.loads(ATTESTATION.to_bytes())
    mutate(message)
    with pytest.raises(FormatError):
        messages.Attestation.parse(json.dumps(message).encode())


@given(st.binary(max_size=300))
def test_random_bytes_raise_only_our_error(data: bytes) -> None:
    for parse in (
        messages.Request.parse,
        messages.Challenge.parse,
        messages.Attestation.parse,
        messages.run_id_of,
    ):
        with pytest.raises(FormatError):
            parse(data)
    assert messages.problem_code(data) == "unexplained"


def test_a_resource_path() -> None:
    resource = messages.Resource.parse("lanthorn/run-key/result")
    assert resource == messages.Resource("run-key", "result")
    assert resource.path == "/kbs/v0/resource/lanthorn/run-key/result"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "lanthorn",
        "lanthorn/key",
        "lanthorn/key/",
        "lanthorn/key/a/b",
        "lanthorn/key/../model",
        "lanthorn/key/.model",
        "lanthorn//key/model",
        "/lanthorn/key/model",
        "lanthorn/key/model/",
        "lanthorn/key/Model",
        "lanthorn/key/model\n",
        "lanthorn/key/mödel",
        "lanthorn/key/model%00",
        "lanthorn/key/" + "a" * 65,
        "lanthorn/keys/model",
        "default/key/model",
        "LANTHORN/key/model",
        "lanthorn\\key\\model",
    ],
)
def test_path_tricks_are_refused(path: str) -> None:
    with pytest.raises(FormatError):
        messages.Resource.parse(path)


def _token(claims: object) -> bytes:
    payload = b64url_encode(json.dumps(claims).encode())
    return messages.token_response(f"e30.{payload}.c2ln")


def test_the_run_id_is_read_from_the_token() -> None:
    assert messages.run_id_of(_token({"run_id": "ab" * 16}))[1] == "ab" * 16


@pytest.mark.parametrize(
    "data",
    [
        b'{"token":1}',
        b'{"token":"a.b"}',
        b'{"token":"a.*.c"}',
        b'{"token":"a.b.c.d"}',
        _token([]),
        _token({}),
        _token({"run_id": 1}),
        _token({"run_id": "AB" * 16}),
        _token({"run_id": "ab" * 15}),
    ],
)
def test_a_token_without_a_run_id_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        messages.run_id_of(data)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (messages.problem("PolicyDeny", "key-not-granted"), "key-not-granted"),
        (b'{"type":"https://x/errors/PolicyDeny","detail":"Access denied by policy"}', "PolicyDeny"),
        (b'{"type":"x/\\u001b[31m","detail":"\\u001b[31mred"}', "unexplained"),
        (b'{"type":1,"detail":2}', "unexplained"),
        (b"<html>", "unexplained"),
    ],
)
def test_a_refusal_is_reduced_to_a_code(data: bytes, code: str) -> None:
    assert messages.problem_code(data) == code


def test_an_error_body_is_rfc_7807_with_a_type_and_a_code() -> None:
    assert json.loads(messages.problem("PolicyDeny", "key-not-granted")) == {
        "type": "https://github.com/confidential-containers/kbs/errors/PolicyDeny",
        "detail": "key-not-granted",
    }
