"""The KBS protocol from the broker's side: bytes in, bytes out, no sockets. Every decision is logged first.

Evidence is verified when a session attests and again for each key, with the grants, policies, collateral and
revocations as they are then.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Protocol, TypeVar

from lanthorn.attestation.evidence import Evidence, kbs_report_data
from lanthorn.broker.decision import (
    Admission,
    Grant,
    Verdict,
    decide_admission,
    decide_key,
)
from lanthorn.broker.log import ADMITTED, REFUSED, RELEASED, Event
from lanthorn.broker.refusal import RefusedError
from lanthorn.broker.sessions import Attested, Session, Sessions
from lanthorn.broker.store import Store
from lanthorn.broker.tokens import TokenSigner
from lanthorn.errors import FormatError
from lanthorn.job.lock import lock_from_canonical
from lanthorn.keys import WrapKey, derive_output_key
from lanthorn.release import jwe
from lanthorn.release.jwk import parse_public_jwk, public_jwk
from lanthorn.release.messages import (
    PROTOCOL_VERSION,
    RUN_KEY_TYPE,
    Attestation,
    Challenge,
    Request,
    Resource,
    token_response,
)
from lanthorn.release.reasons import Reason

SUPPORTED_TEES = frozenset({"tdx", "sgx"})
RUN_ID_SIZE = 16

_S = TypeVar("_S")
_T = TypeVar("_T")


class Judge(Protocol):
    """Verifies evidence and appraises it against one stored policy. Never raises for bad evidence."""

    def judge(
        self, policy: int, text: str, evidence: Evidence, report_data: bytes, now: datetime
    ) -> Verdict: ...


class KeyService:
    """The three steps of the protocol. Every method raises `RefusedError` with a reason code, or answers."""

    def __init__(
        self,
        store: Store,
        sessions: Sessions,
        tokens: TokenSigner,
        judge: Judge,
        *,
        allow_simulated: bool,
        clock: Callable[[], datetime],
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._store, self._sessions, self._tokens, self._judge = store, sessions, tokens, judge
        self._allow_simulated, self._clock, self._random = allow_simulated, clock, random

    def auth(self, body: bytes) -> tuple[str, bytes]:
        """Open a session: return its id and the challenge."""
        request = _parsed(Request.parse, body, Reason.MESSAGE_MALFORMED)
        if request.version != PROTOCOL_VERSION:
            raise RefusedError(Reason.VERSION_UNSUPPORTED, f"expected version {PROTOCOL_VERSION}")
        if request.tee not in SUPPORTED_TEES:
            raise RefusedError(Reason.TEE_UNSUPPORTED, f"expected one of {sorted(SUPPORTED_TEES)}")
        session = self._sessions.open(request.tee)
        return session.id, Challenge(session.nonce).to_bytes()

    def attest(self, session_id: str, body: bytes) -> bytes:
        """Admit a session whose evidence some active grant's policy admits: return its token.

        (1) the session is open; (2) its nonce is spent, now and for good, and is the one sent; (3) the
        message asks for nothing that is not checked; (4) the key is a P-256 one; (5) the evidence is judged
        by every policy in force; (6) the outcome is in the log; (7) only then the session is attested.
        """
        session = self._sessions.get(session_id)
        detail: dict[str, object] = {}
        with self._refusals_logged(Event(REFUSED), detail):
            attested = self._bind(session, body)
            grants = self._store.active_grants()
            verdicts = self._verdicts(grants, attested, detail)
            admission = decide_admission(grants, verdicts, allow_simulated=self._allow_simulated)
        self._log_admission(admission, attested, detail)
        self._sessions.admit(session.id, attested)
        return token_response(
            self._tokens.sign(
                run_id=attested.run_id,
                tee=session.tee,
                tee_pubkey=public_jwk(attested.public_key),
                now=self._clock(),
            )
        )

    def session_of_token(self, token: str) -> str:
        """Return the id of the session that a bearer token of ours stands for."""
        return self._sessions.of_run(self._tokens.run_id(token, now=self._clock())).id

    def resource(self, session_id: str, path: str) -> bytes:
        """Decide one key and return it encrypted to the session's attested key pair."""
        attested = self._sessions.get(session_id).attested
        if attested is None:
            raise RefusedError(Reason.SESSION_NOT_ATTESTED, "the session is not attested")
        resource = _parsed(Resource.parse, path, Reason.PATH_INVALID)
        key = self._release(resource, attested)
        if resource.kind == RUN_KEY_TYPE:
            key = derive_output_key(key, attested.run_id, resource.name)
        return jwe.encrypt(key.raw, attested.public_key)

    def _bind(self, session: Session, body: bytes) -> Attested:
        """Take an attestation apart and say what its evidence has to be bound to: steps (2) to (4)."""
        attestation = _parsed(Attestation.parse, body, Reason.MESSAGE_MALFORMED)
        self._sessions.spend_nonce(session.id, attestation.nonce)
        if attestation.has_init_data:
            raise RefusedError(Reason.INIT_DATA_UNSUPPORTED, "init-data is not checked by this broker")
        if attestation.names_devices():
            raise RefusedError(Reason.DEVICES_UNSUPPORTED, "devices are not checked by this broker")
        public_key = _parsed(parse_public_jwk, attestation.tee_pubkey, Reason.KEY_UNSUPPORTED)
        report_data = kbs_report_data(session.nonce, public_jwk(public_key), attestation.additional_evidence)
        run_id = self._random(RUN_ID_SIZE).hex()
        return Attested(run_id, Evidence(session.tee, attestation.quote), report_data, public_key)

    def _verdicts(
        self, grants: Sequence[Grant], attested: Attested, detail: dict[str, object]
    ) -> list[Verdict]:
        """Ask the judge about every policy of `grants`, and put what it says into `detail`."""
        now = self._clock()
        verdicts = [
            self._judge.judge(
                policy, self._store.policy_text(policy), attested.evidence, attested.report_data, now
            )
            for policy in dict.fromkeys(grant.policy for grant in grants)
        ]
        detail["policies"] = [{"policy": verdict.policy, **verdict.detail} for verdict in verdicts]
        return verdicts

    def _log_admission(self, admission: Admission, attested: Attested, detail: dict[str, object]) -> None:
        grant = admission.grant
        detail["simulated"] = admission.simulated
        self._store.append(
            Event(ADMITTED, run_id=attested.run_id, lock=grant.lock, policy=grant.policy, detail=detail)
        )

    def _release(self, resource: Resource, attested: Attested) -> WrapKey:
        """Return the owner's key after its release is in the log, or log the refusal and raise it."""
        grants = self._store.active_grants(resource.name)
        about = Event(RELEASED, run_id=attested.run_id, key=resource.name, code=resource.kind)
        detail: dict[str, object] = {"resource": resource.kind}
        with self._refusals_logged(about, detail):
            admission = self._decide(resource, grants, self._verdicts(grants, attested, detail))
            grant = admission.grant
            detail["simulated"] = admission.simulated
            entry = replace(about, lock=grant.lock, policy=grant.policy, detail=detail)
            return self._store.release(grant, entry, simulated=admission.simulated)

    @contextlib.contextmanager
    def _refusals_logged(self, about: Event, detail: dict[str, object]) -> Iterator[None]:
        """Write a refusal to the log, with all that `detail` holds by then, before it goes on."""
        try:
            yield
        except RefusedError as refusal:
            words = {**detail, "words": refusal.message}
            self._store.append(replace(about, event=REFUSED, code=refusal.reason.value, detail=words))
            raise

    def _decide(self, resource: Resource, grants: Sequence[Grant], verdicts: Sequence[Verdict]) -> Admission:
        return decide_key(
            resource,
            grants,
            verdicts,
            {grant.lock: self._access(grant) for grant in grants},
            allow_simulated=self._allow_simulated,
            simulation_had_key=self._store.was_released_to_simulation(resource.name),
        )

    def _access(self, grant: Grant) -> frozenset[str]:
        return _lock_of(self._store.job(grant.lock)).access_of(grant.key)


# A job's bytes never change, and parsing a large one costs milliseconds.
_lock_of = lru_cache(maxsize=64)(lock_from_canonical)


def _parsed(parse: Callable[[_S], _T], value: _S, reason: Reason) -> _T:
    try:
        return parse(value)
    except FormatError as error:
        raise RefusedError(reason, error.message) from error
