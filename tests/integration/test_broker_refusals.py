"""Every way to be refused, over the real wire: status, RFC 7807 error name, reason code, and nothing more."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from lanthorn.attestation.simulator.platform import SimulatedPlatform
from lanthorn.errors import IntegrityError
from lanthorn.release import jwe
from lanthorn.release.strict_json import b64url_decode, b64url_encode
from tests.unit.broker.lab import Lab, Served
from tests.unit.broker.wire import Handshake, auth_message, send

AUTH, ATTEST = "/kbs/v0/auth", "/kbs/v0/attest"
DEEP = b'{"version":"0.4.0","tee":"tdx","extra-params":' + b"[" * 900 + b"]" * 900 + b"}"


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


@pytest.fixture
def session(lab: Lab, served: Served) -> Handshake:
    return Handshake(lab, served)


@pytest.fixture
def attested(session: Handshake) -> Handshake:
    assert session.attest().status == 200
    return session


@pytest.mark.parametrize("version", ["0.3.0", "0.4.1", "0.4", "0.4.0 ", "v0.4.0", "1.0.0", ""])
def test_any_version_but_one_is_refused(served: Served, version: str) -> None:
    reply = send(served, "POST", AUTH, auth_message(version=version))
    assert reply.refusal == (401, "AttestationError", "version-unsupported")
    assert "set-cookie" not in reply.headers


@pytest.mark.parametrize("tee", ["sample", "snp", "TDX", "", "tdx\n"])
def test_a_tee_that_is_not_verified_here_is_refused(served: Served, tee: str) -> None:
    reply = send(served, "POST", AUTH, auth_message(tee=tee))
    assert reply.refusal == (401, "AttestationError", "tee-unsupported")


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", DEEP, b'{"version":"0.4.0"}', b"\xff", b'{"version":"0.4.0","tee":"tdx","tee":"tdx"}'],
    ids=["empty", "array", "cut", "deep", "missing", "not utf-8", "duplicate"],
)
@pytest.mark.parametrize("path", [AUTH, ATTEST])
def test_malformed_messages_are_refused(served: Served, session: Handshake, path: str, body: bytes) -> None:
    reply = send(served, "POST", path, body, cookie=session.cookie)
    assert reply.refusal == (401, "AttestationError", "message-malformed")


@pytest.mark.parametrize(("path", "size"), [(AUTH, 5_000), (ATTEST, 263_000)])
def test_oversized_bodies_are_refused(served: Served, session: Handshake, path: str, size: int) -> None:
    body = b'{"version":"' + b"x" * size + b'"}'
    assert send(served, "POST", path, body, cookie=session.cookie).refusal == (
        413,
        "SerdeError",
        "message-too-large",
    )


def test_a_body_without_end_is_not_read_to_its_end(served: Served, session: Handshake) -> None:
    """The broker answers and hangs up; a client that is still sending may see only the latter."""
    with contextlib.suppress(OSError):
        reply = send(served, "POST", ATTEST, b"{" + b" " * 30_000_000, cookie=session.cookie)
        assert reply.status == 413
    assert session.attest().status == 200


@pytest.mark.parametrize("cookie", ["", "00" * 16, "x", "a" * 5000, "../../etc/passwd"])
def test_attesting_without_a_session_is_refused(session: Handshake, cookie: str) -> None:
    reply = send(session.served, "POST", ATTEST, session.message(), cookie=cookie)
    assert reply.refusal == (401, "TokenNotFound", "session-unknown")


def test_a_nonce_is_good_for_one_attestation(session: Handshake) -> None:
    message = session.message()
    assert session.attest(message).status == 200
    assert session.attest(message).refusal == (401, "AttestationError", "nonce-used")


def test_a_failed_attestation_spends_the_nonce_too(session: Handshake) -> None:
    spoilt = session.message(jwk={**session.jwk, "crv": "P-521"})
    assert session.attest(spoilt).refusal[2] == "key-unsupported"
    assert session.attest().refusal == (401, "AttestationError", "nonce-used")


def test_the_nonce_of_another_session_is_refused(lab: Lab, served: Served, session: Handshake) -> None:
    other = Handshake(lab, served)
    assert session.attest(other.message()).refusal == (401, "AttestationError", "nonce-mismatch")


def test_evidence_of_another_session_is_refused(lab: Lab, served: Served, session: Handshake) -> None:
    """A replay: yesterday's quote under today's nonce."""
    message = session.message()
    message["tee-evidence"] = Handshake(lab, served).message()["tee-evidence"]
    assert session.attest(message).refusal == (401, "AttestationError", "evidence-refused")


def test_evidence_for_another_key_is_refused(lab: Lab, served: Served, session: Handshake) -> None:
    message = session.message()
    message["runtime-data"]["tee-pubkey"] = Handshake(lab, served).jwk
    assert session.attest(message).refusal == (401, "AttestationError", "evidence-refused")


def test_the_additional_evidence_is_part_of_what_is_bound(session: Handshake) -> None:
    message = session.message(additional="")
    message["tee-evidence"]["additional_evidence"] = "{}"
    assert session.attest(message).refusal == (401, "AttestationError", "evidence-refused")


def test_half_a_surrogate_pair_is_malformed(session: Handshake) -> None:
    message = session.message()
    message["runtime-data"]["nonce"] = "\ud800"
    assert session.attest(message).refusal == (401, "AttestationError", "message-malformed")


def test_an_empty_mapping_of_devices_means_none(session: Handshake) -> None:
    assert session.attest(session.message(additional="{}")).status == 200


SPOILT: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
    ("P-384", lambda m: m["runtime-data"]["tee-pubkey"].update(crv="P-384"), "key-unsupported"),
    ("private", lambda m: m["runtime-data"]["tee-pubkey"].update(d="AA"), "key-unsupported"),
    (
        "RSA",
        lambda m: m["runtime-data"].update({"tee-pubkey": {"kty": "RSA", "n": "AQAB", "e": "AQAB"}}),
        "key-unsupported",
    ),
    ("no key", lambda m: m["runtime-data"].update({"tee-pubkey": {}}), "key-unsupported"),
    ("init data", lambda m: m.update({"init-data": {"format": "toml", "body": ""}}), "init-data-unsupported"),
    (
        "devices",
        lambda m: m["tee-evidence"].update(additional_evidence='{"nvidia":{}}'),
        "devices-unsupported",
    ),
    ("empty quote", lambda m: m["tee-evidence"]["primary_evidence"].update(quote=""), "evidence-refused"),
    (
        "quote of zeros",
        lambda m: m["tee-evidence"]["primary_evidence"].update(quote="A" * 6000),
        "evidence-refused",
    ),
    ("raw evidence", lambda m: m["tee-evidence"].update(primary_evidence="AAAA"), "message-malformed"),
]


@pytest.mark.parametrize(("spoil", "code"), [case[1:] for case in SPOILT], ids=[case[0] for case in SPOILT])
def test_spoilt_attestations_are_refused(
    session: Handshake, spoil: Callable[[dict[str, Any]], object], code: str
) -> None:
    message = json.loads(json.dumps(session.message()))
    spoil(message)
    reply = session.attest(message)
    assert reply.refusal == (401, "AttestationError", code)


def test_another_lock_is_refused(lab: Lab, served: Served) -> None:
    session = Handshake(lab, served, lock="another")
    assert session.attest().refusal == (401, "AttestationError", "evidence-refused")
    newest = lab.log()[-1]
    assert (newest["event"], newest["code"]) == ("refused", "evidence-refused")
    failed = {check["name"] for check in newest["detail"]["policies"][0]["checks"] if not check["ok"]}
    assert failed == {"lock"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"tcb": "OutOfDate"}, "tcb"), ({"debug": True}, "debug"), ({"revoked": "pck"}, "revo")],
)
def test_a_platform_that_the_policy_does_not_want_is_refused(
    lab: Lab, served: Served, settings: dict[str, Any], words: str
) -> None:
    from datetime import UTC, datetime

    restore = {"tcb": "UpToDate", "debug": False, "revoked": "none"}
    lab.platform().configure(now=datetime.now(UTC), **settings)
    try:
        reply = Handshake(lab, served).attest()
    finally:
        lab.platform().configure(now=datetime.now(UTC), **restore)
    assert reply.refusal == (401, "AttestationError", "evidence-refused")
    assert words in lab.log()[-1]["detail"]["policies"][0]["refused"].lower()


def test_a_quote_under_another_root_is_refused(lab: Lab, served: Served, session: Handshake) -> None:
    from datetime import UTC, datetime

    from lanthorn.attestation.attester.simulated import SimulatedTDX

    folder = lab.folder / "impostor"
    SimulatedPlatform.create(folder, now=datetime.now(UTC))
    session.attester = SimulatedTDX(folder)
    session.attester.bind(lab.loaded().digest)
    assert session.attest().refusal == (401, "AttestationError", "evidence-refused")
    assert "trust anchor" in lab.log()[-1]["detail"]["policies"][0]["refused"]


def test_a_key_before_attestation_is_refused(session: Handshake) -> None:
    reply = session.resource("lanthorn/key/model")
    assert reply.refusal == (401, "TokenNotFound", "session-not-attested")


def test_a_key_without_a_session_is_refused(attested: Handshake) -> None:
    reply = attested.resource("lanthorn/key/model", cookie="")
    assert reply.refusal == (401, "TokenNotFound", "session-unknown")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("lanthorn/key/unheard-of", "key-not-granted"),
        ("lanthorn/run-key/unheard-of", "key-not-granted"),
        ("lanthorn/key/result", "access-not-granted"),
        ("lanthorn/key/log", "access-not-granted"),
        ("lanthorn/run-key/model", "access-not-granted"),
    ],
)
def test_a_key_that_the_lock_does_not_give_is_refused(attested: Handshake, path: str, code: str) -> None:
    assert attested.resource(path).refusal == (401, "PolicyDeny", code)


@pytest.mark.parametrize(
    "path",
    [
        "lanthorn/key/../key/model",
        "lanthorn/key/./model",
        "lanthorn/key//model",
        "lanthorn/key/model/",
        "lanthorn/key/%6dodel",
        "lanthorn/key%2Fmodel",
        "lanthorn/key/model?x=1",
        "lanthorn/key/model%00",
        "lanthorn/Key/model",
        "default/key/model",
        "lanthorn/key/",
        "lanthorn",
        "",
    ],
)
def test_path_tricks_are_refused(attested: Handshake, path: str) -> None:
    assert attested.resource(path).refusal == (404, "InvalidRequestPath", "path-invalid")


@pytest.mark.parametrize(
    "path",
    ["/", "/kbs/v0", "/kbs/v0/", "/kbs/v0/auth/", "/kbs/v1/auth", "/KBS/v0/auth", "//kbs/v0/auth", "/docs"],
)
def test_other_paths_do_not_exist(served: Served, path: str) -> None:
    assert send(served, "POST", path, auth_message()).refusal == (404, "InvalidRequestPath", "path-invalid")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", AUTH),
        ("PUT", AUTH),
        ("GET", ATTEST),
        ("POST", "/kbs/v0/resource/lanthorn/key/model"),
        ("DELETE", "/kbs/v0/resource/lanthorn/key/model"),
        ("OPTIONS", "/kbs/v0/resource/lanthorn/key/model"),
    ],
)
def test_other_methods_are_refused(attested: Handshake, method: str, path: str) -> None:
    reply = send(attested.served, method, path, b"{}", cookie=attested.cookie)
    assert reply.refusal == (405, "InvalidRequestPath", "method-not-allowed")


def test_head_releases_nothing(lab: Lab, attested: Handshake) -> None:
    before = len(lab.log())
    path = "/kbs/v0/resource/lanthorn/key/model"
    assert send(attested.served, "HEAD", path, cookie=attested.cookie).status == 405
    assert len(lab.log()) == before


def _token(attested: Handshake, lab: Lab, served: Served) -> str:
    fresh = Handshake(lab, served)
    token = fresh.attest().json["token"]
    assert isinstance(token, str)
    return token


def test_a_bearer_token_stands_for_its_session(session: Handshake) -> None:
    token = session.attest().json["token"]
    reply = session.resource("lanthorn/key/model", token=token, cookie="")
    assert len(jwe.decrypt(reply.body, session.private)) == 16


def test_a_token_beside_the_cookie_of_another_session_is_refused(
    lab: Lab, served: Served, attested: Handshake
) -> None:
    stolen = _token(attested, lab, served)
    reply = attested.resource("lanthorn/key/model", token=stolen)
    assert reply.refusal == (401, "TokenVerifierError", "token-invalid")


def test_a_stolen_cookie_gives_a_key_that_the_thief_cannot_open(attested: Handshake) -> None:
    stolen = attested.resource("lanthorn/key/model", cookie=attested.cookie)
    assert stolen.status == 200
    with pytest.raises(IntegrityError):
        jwe.decrypt(stolen.body, ec.generate_private_key(ec.SECP256R1()))


def _forge(token: str, header: dict[str, Any] | None = None, claims: dict[str, Any] | None = None) -> str:
    parts = token.split(".")
    for index, change in enumerate((header, claims)):
        if change:
            value = json.loads(b64url_decode(parts[index], "part")) | change
            parts[index] = b64url_encode(json.dumps(value).encode())
    return ".".join(parts)


@pytest.mark.parametrize(
    "forge",
    [
        lambda token: _forge(token, header={"alg": "none"}).rpartition(".")[0] + ".",
        lambda token: _forge(token, header={"alg": "HS256"}),
        lambda token: _forge(token, claims={"exp": 9999999999}),
        lambda token: _forge(token, claims={"run_id": "00" * 16}),
        lambda token: token[:-4] + "AAAA",
        lambda token: token.rpartition(".")[0],
        lambda token: "x",
    ],
    ids=["none", "hmac", "longer life", "other run", "signature", "no signature", "no token"],
)
def test_forged_tokens_are_refused(session: Handshake, forge: Callable[[str], str]) -> None:
    token = session.attest().json["token"]
    reply = session.resource("lanthorn/key/model", token=forge(token), cookie="")
    assert reply.refusal == (401, "TokenVerifierError", "token-invalid")


def test_the_token_names_the_run_and_no_verdict(attested: Handshake, lab: Lab, served: Served) -> None:
    token = _token(attested, lab, served)
    claims = json.loads(b64url_decode(token.split(".")[1], "claims"))
    assert set(claims) == {"iss", "iat", "nbf", "exp", "run_id", "tee", "tee-pubkey"}
    assert claims["exp"] - claims["iat"] == 300


def test_the_cookie_is_for_this_protocol_alone(served: Served) -> None:
    header = send(served, "POST", AUTH, auth_message()).headers["set-cookie"]
    parts = {part.strip().lower() for part in header.split(";")[1:]}
    assert {"httponly", "secure", "path=/kbs/v0", "max-age=300", "samesite=strict"} <= parts


def test_nothing_failed_unexpectedly(lab: Lab, served: Served) -> None:
    """Runs last in this file: the server logged no unexpected error on all of the above."""
    assert "unexpected error" not in lab.server_log()
    assert "Traceback" not in lab.server_log()
