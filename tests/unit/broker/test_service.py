"""The service with a judge of the test's own: what real hardware would say, which no machine here can."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from lanthorn.attestation.evidence import Evidence, kbs_report_data
from lanthorn.broker.app import create_app
from lanthorn.broker.database import Database
from lanthorn.broker.decision import Verdict
from lanthorn.broker.master import MasterKey
from lanthorn.broker.refusal import RefusedError
from lanthorn.broker.service import KeyService
from lanthorn.broker.sessions import Sessions
from lanthorn.broker.store import Store
from lanthorn.broker.tokens import TokenSigner
from lanthorn.job.lock import Lock, lock_from_values
from lanthorn.keys import WrapKey, derive_output_key
from lanthorn.release import jwe
from lanthorn.release.jwk import public_jwk
from lanthorn.release.messages import run_id_of
from lanthorn.release.reasons import Reason
from tests.unit.broker.lab import job_values

KEYS = {name: WrapKey(name.encode().ljust(16)) for name in ("both", "log", "model", "result")}


@dataclass
class Judge:
    """Says what it is told to, and remembers what it was asked."""

    lock: str
    simulated: bool = False
    admitted: bool = True
    asked: tuple[Evidence, bytes] | None = None

    def judge(self, policy: int, text: str, evidence: Evidence, report_data: bytes, now: datetime) -> Verdict:
        self.asked = (evidence, report_data)
        return Verdict(policy, self.admitted, self.lock, self.simulated, {"status": "told"})


@dataclass
class Bench:
    store: Store
    service: KeyService
    judge: Judge
    private: ec.EllipticCurvePrivateKey
    lock: Lock
    monotonic: list[float]

    def open(self) -> tuple[str, str]:
        session, challenge = self.service.auth(b'{"version":"0.4.0","tee":"tdx"}')
        return session, json.loads(challenge)["nonce"]

    def attest(self) -> tuple[str, str]:
        """Return a session and its run id."""
        session, nonce = self.open()
        return session, run_id_of(self.service.attest(session, self.message(nonce)))[1]

    def message(self, nonce: str) -> bytes:
        evidence = {"quote": base64.b64encode(b"quote").decode()}
        return json.dumps(
            {
                "runtime-data": {"nonce": nonce, "tee-pubkey": public_jwk(self.private.public_key())},
                "tee-evidence": {"primary_evidence": evidence, "additional_evidence": ""},
            }
        ).encode()

    def key(self, session: str, path: str) -> WrapKey:
        return WrapKey(jwe.decrypt(self.service.resource(session, path), self.private))

    def refused(self, session: str, path: str) -> Reason:
        with pytest.raises(RefusedError) as caught:
            self.service.resource(session, path)
        return caught.value.reason


def _clock() -> datetime:
    return datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    lock = lock_from_values(job_values("sha256:" + "0" * 64), tmp_path)
    TokenSigner.create(tmp_path / "token.pem")
    monotonic = [0.0]
    with Store(Database.create(tmp_path / "broker.sqlite"), MasterKey(bytes(32)), clock=_clock) as store:
        for name, key in KEYS.items():
            store.import_key(name, key)
        store.allow(tuple(KEYS), lock=lock.digest.hex(), job=lock.canonical, policy_text="p")
        judge = Judge(lock.digest.hex())
        service = KeyService(
            store,
            Sessions(clock=lambda: monotonic[0]),
            TokenSigner.load(tmp_path / "token.pem"),
            judge,
            allow_simulated=True,
            clock=_clock,
        )
        yield Bench(store, service, judge, ec.generate_private_key(ec.SECP256R1()), lock, monotonic)


def test_a_real_tee_gets_its_keys(bench: Bench) -> None:
    session, run_id = bench.attest()
    assert bench.key(session, "lanthorn/key/model") == KEYS["model"]
    expected = derive_output_key(KEYS["result"], run_id, "result")
    assert bench.key(session, "lanthorn/run-key/result") == expected


def test_the_judge_is_asked_about_this_nonce_and_this_key(bench: Bench) -> None:
    session, nonce = bench.open()
    bench.service.attest(session, bench.message(nonce))
    bound = kbs_report_data(nonce, public_jwk(bench.private.public_key()), "")
    assert bench.judge.asked == (Evidence("tdx", b"quote"), bound)


def test_a_key_that_a_simulation_had_is_refused_to_a_real_tee(bench: Bench) -> None:
    bench.judge.simulated = True
    session, _ = bench.attest()
    assert bench.key(session, "lanthorn/key/model") == KEYS["model"]
    bench.judge.simulated = False
    session, _ = bench.attest()
    assert bench.refused(session, "lanthorn/key/model") is Reason.KEY_USED_IN_SIMULATION
    assert bench.key(session, "lanthorn/key/both") == KEYS["both"]


def test_an_output_key_marks_the_owners_key_too(bench: Bench) -> None:
    bench.judge.simulated = True
    session, _ = bench.attest()
    bench.key(session, "lanthorn/run-key/both")
    bench.judge.simulated = False
    session, _ = bench.attest()
    assert bench.refused(session, "lanthorn/key/both") is Reason.KEY_USED_IN_SIMULATION


def test_the_evidence_is_judged_again_for_each_key(bench: Bench) -> None:
    session, _ = bench.attest()
    assert bench.key(session, "lanthorn/key/model")
    bench.judge.admitted = False
    assert bench.refused(session, "lanthorn/key/model") is Reason.EVIDENCE_REFUSED
    bench.judge.admitted = True
    assert bench.key(session, "lanthorn/key/model")


def test_an_expired_session_gets_no_key_and_no_admission(bench: Bench) -> None:
    session, _ = bench.attest()
    waiting, nonce = bench.open()
    bench.monotonic[0] = 300.0
    assert bench.refused(session, "lanthorn/key/model") is Reason.SESSION_EXPIRED
    with pytest.raises(RefusedError) as caught:
        bench.service.attest(waiting, bench.message(nonce))
    assert caught.value.reason is Reason.SESSION_EXPIRED


def test_every_outcome_is_in_the_log(bench: Bench) -> None:
    session, run_id = bench.attest()
    bench.key(session, "lanthorn/key/model")
    bench.refused(session, "lanthorn/key/result")
    bench.judge.admitted = False
    other, nonce = bench.open()
    with pytest.raises(RefusedError):
        bench.service.attest(other, bench.message(nonce))
    rows = [row for row in bench.store.log_rows() if row["event"] in ("admitted", "released", "refused")]
    assert [(row["event"], row["code"], row["key"], row["run_id"]) for row in rows] == [
        ("admitted", "", "", run_id),
        ("released", "key", "model", run_id),
        ("refused", "access-not-granted", "result", run_id),
        ("refused", "evidence-refused", "", ""),
    ]
    assert all(json.loads(row["detail"])["policies"] == [{"policy": 1, "status": "told"}] for row in rows)


def test_an_attempt_that_fails_before_any_evidence_is_in_the_log_too(bench: Bench) -> None:
    session, nonce = bench.open()
    for body, reason in (
        (b"{}", Reason.MESSAGE_MALFORMED),
        (bench.message("00"), Reason.NONCE_MISMATCH),
        (bench.message(nonce), Reason.NONCE_USED),
    ):
        with pytest.raises(RefusedError) as caught:
            bench.service.attest(session, body)
        assert caught.value.reason is reason
        (*_, row) = bench.store.log_rows()
        assert (row["event"], row["code"]) == ("refused", reason.value)


def test_a_token_of_another_broker_is_refused(bench: Bench, tmp_path: Path) -> None:
    bench.attest()
    TokenSigner.create(tmp_path / "other.pem")
    foreign = TokenSigner.load(tmp_path / "other.pem").sign(
        run_id="ab" * 16, tee="tdx", tee_pubkey={}, now=_clock()
    )
    with pytest.raises(RefusedError) as caught:
        bench.service.session_of_token(foreign)
    assert caught.value.reason is Reason.TOKEN_INVALID


def test_a_token_expires(bench: Bench, tmp_path: Path) -> None:
    signer = TokenSigner.load(tmp_path / "token.pem")
    token = signer.sign(run_id="ab" * 16, tee="tdx", tee_pubkey={}, now=_clock())
    assert signer.run_id(token, now=_clock()) == "ab" * 16
    with pytest.raises(RefusedError) as caught:
        signer.run_id(token, now=datetime(2026, 11, 23, 12, 5, tzinfo=UTC))
    assert caught.value.reason is Reason.SESSION_EXPIRED


class _Broken:
    """A service that fails as no service should."""

    def auth(self, body: bytes) -> tuple[str, bytes]:
        raise RuntimeError("the secret is 000102")


async def _call(service: object, body_messages: list[dict[str, Any]]) -> tuple[int, bytes]:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return body_messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(dict(message))

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/kbs/v0/auth",
        "raw_path": b"/kbs/v0/auth",
        "query_string": b"",
        "headers": [],
    }
    await create_app(service)(scope, receive, send)  # type: ignore[arg-type]
    return sent[0]["status"], sent[1]["body"]


def test_an_unexpected_error_is_answered_without_detail_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    import asyncio

    body = [{"type": "http.request", "body": b"{}", "more_body": False}]
    status, answer = asyncio.run(_call(_Broken(), body))
    assert status == 500
    assert json.loads(answer)["detail"] == "internal"
    assert b"000102" not in answer
    assert "unexpected error" in caplog.text


def test_a_client_that_goes_away_in_the_middle_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    import asyncio

    status, _ = asyncio.run(_call(_Broken(), [{"type": "http.disconnect"}]))
    assert status == 401
    assert caplog.text == ""


def test_a_body_that_never_ends_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    from lanthorn.broker import app

    monkeypatch.setattr(app, "BODY_SECONDS", 0.05)

    async def slow() -> tuple[int, bytes]:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            await asyncio.sleep(0.02)
            return {"type": "http.request", "body": b" ", "more_body": True}

        async def send(message: Any) -> None:
            sent.append(dict(message))

        scope = {
            "type": "http",
            "method": "POST",
            "raw_path": b"/kbs/v0/auth",
            "query_string": b"",
            "headers": [],
        }
        await create_app(_Broken())(scope, receive, send)  # type: ignore[arg-type]
        return sent[0]["status"], sent[1]["body"]

    status, answer = asyncio.run(slow())
    assert status == 401 and json.loads(answer)["detail"] == "message-malformed"
