"""Attempts between operator, broker and owner: replayed evidence, an old result, an impostor."""

from __future__ import annotations

import json
from http import HTTPStatus
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from lanthorn.attestation.attester.simulated import SimulatedTDX
from lanthorn.attestation.evidence import kbs_report_data
from lanthorn.demo.failure import DemoFailedError
from lanthorn.demo.honest import log_rows, try_decrypt
from lanthorn.demo.hostile.attempt import Attempt, Outcome, of
from lanthorn.demo.parties import Serving
from lanthorn.demo.stage import Machine, Stage
from lanthorn.errors import IntegrityError
from lanthorn.job.lock import load_lock
from lanthorn.release import messages
from lanthorn.release.connection import Answer, PinnedConnection
from lanthorn.release.endpoint import BrokerEndpoint
from lanthorn.release.jwk import public_jwk

_TIMEOUT = 20.0


def attempts() -> list[Attempt]:
    return [
        Attempt("replayed evidence", _replay, r"^the broker answered 401: nonce-mismatch$", code=1),
        Attempt(
            "replayed evidence with the new nonce written in",
            _replay_renamed,
            r"^the broker answered 401: evidence-refused$",
            code=1,
            reason="report data mismatch",
        ),
        Attempt(
            "yesterday's result handed out as today's",
            _old_result,
            r"^cannot decrypt .*result\.txt: wrong key, or its first node was changed$",
            code=IntegrityError.exit_code,
        ),
        Attempt(
            "a broker with another certificate",
            _impostor,
            r"has another certificate key than is pinned: expected sha256:[0-9a-f]{64}, got sha256:[0-9a-f]{64}$",
        ),
    ]


class Session:
    """A session with the owner's broker, message by message, as an operator that writes its own client has it."""

    def __init__(self, stage: Stage, machine: Machine) -> None:
        pins = load_lock(machine.job / "lanthorn.lock").brokers["home"].spki
        endpoint = BrokerEndpoint("home", stage.broker_url, pins)
        self._connection = PinnedConnection(endpoint, timeout=_TIMEOUT)
        answer = self._post("auth", messages.Request(messages.PROTOCOL_VERSION, "tdx").to_bytes(), "")
        self.nonce = messages.Challenge.parse(answer.body).nonce
        self._cookie = answer.cookies[0].partition(";")[0]

    def attest(self, body: bytes) -> Answer:
        return self._post("attest", body, self._cookie)

    def _post(self, step: str, body: bytes, cookie: str) -> Answer:
        headers = {"Content-Type": "application/json", "Cookie": cookie}
        return self._connection.exchange(
            "POST", f"{messages.PREFIX}/{step}", body=body, headers=headers, limit=messages.MAX_TOKEN_RESPONSE
        )

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._connection.close()


def _record(stage: Stage, machine: Machine) -> bytes:
    """Return an attestation that the broker accepted, as it went over the wire."""
    with Session(stage, machine) as session:
        jwk = public_jwk(ec.generate_private_key(ec.SECP256R1()).public_key())
        evidence = SimulatedTDX(machine.simulator).attest(kbs_report_data(session.nonce, jwk, ""))
        body = messages.Attestation(nonce=session.nonce, tee_pubkey={**jwk}, quote=evidence.quote).to_bytes()
        answer = session.attest(body)
    if answer.status != HTTPStatus.OK:
        raise DemoFailedError(f"the broker refused genuine evidence: {messages.problem_code(answer.body)}")
    return body


def _answered(answer: Answer) -> Outcome:
    if answer.status == HTTPStatus.OK:
        return Outcome(0, "the broker admitted it")
    return Outcome(1, f"the broker answered {answer.status}: {messages.problem_code(answer.body)}")


def _replay(stage: Stage) -> Outcome:
    with stage.copy_of_machine() as machine:
        body = _record(stage, machine)
        with Session(stage, machine) as session:
            return _answered(session.attest(body))


def _replay_renamed(stage: Stage) -> Outcome:
    with stage.copy_of_machine() as machine:
        body = json.loads(_record(stage, machine))
        with Session(stage, machine) as session:
            body["runtime-data"]["nonce"] = session.nonce
            return _answered(session.attest(json.dumps(body).encode()))


def _old_result(stage: Stage) -> Outcome:
    """Let today's run fail after it was admitted, and hand out the result that is still there."""
    with stage.copy_of_machine() as machine:
        (machine.job / "photo.png").unlink()
        machine.run()
        today = next(row["run_id"] for row in reversed(log_rows(stage)) if row["event"] == "admitted")
        if today == stage.run_id:
            raise DemoFailedError("today's run was not admitted")
        plain = machine.folder / "plain"
        return of(try_decrypt(stage, today, machine.job / "result.txt", plain))


def _impostor(stage: Stage) -> Outcome:
    """Let the operator serve a broker of its own at the place that the runtime is told."""
    with stage.copy_of_machine() as machine:
        folder = machine.folder / "impostor"
        options = ("--insecure-allow-simulated", "--simulator", machine.simulator)
        stage.operator.must("broker", "init", "--folder", folder, *options)
        with Serving(stage.operator, folder, Path(machine.folder, "impostor.txt")) as impostor:
            return of(machine.run("--broker", f"home={impostor.url}"))
