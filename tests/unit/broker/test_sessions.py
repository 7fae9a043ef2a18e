"""Sessions and nonces: single use, five minutes, bounded, thread-safe."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from lanthorn.attestation.evidence import Evidence
from lanthorn.broker.refusal import RefusedError
from lanthorn.broker.sessions import Attested, Sessions
from lanthorn.release.messages import SESSION_SECONDS
from lanthorn.release.reasons import Reason

KEY = ec.derive_private_key(5, ec.SECP256R1()).public_key()


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(clock: Clock) -> Sessions:
    return Sessions(clock=clock, limit=3)


def _attested(run: str = "ab" * 16) -> Attested:
    return Attested(run, Evidence("tdx", b""), bytes(64), KEY)


def _refusal(reason: Reason) -> object:
    return pytest.raises(RefusedError, check=lambda error: error.reason is reason)


def test_ids_and_nonces_are_fresh(sessions: Sessions) -> None:
    one, other = sessions.open("tdx"), sessions.open("tdx")
    assert len({one.id, other.id, one.nonce, other.nonce}) == 4
    assert len(one.nonce) == 64 and len(one.id) == 32
    assert sessions.get(one.id) == one


def test_a_nonce_is_spent_by_the_first_attempt_even_a_wrong_one(sessions: Sessions) -> None:
    session = sessions.open("tdx")
    with _refusal(Reason.NONCE_MISMATCH):
        sessions.spend_nonce(session.id, "00" * 32)
    with _refusal(Reason.NONCE_USED):
        sessions.spend_nonce(session.id, session.nonce)


def test_a_nonce_that_is_not_ascii_is_a_mismatch(sessions: Sessions) -> None:
    with _refusal(Reason.NONCE_MISMATCH):
        sessions.spend_nonce(sessions.open("tdx").id, "ä")


def test_one_of_many_threads_gets_the_nonce(sessions: Sessions) -> None:
    session, won = sessions.open("tdx"), []

    def attempt() -> None:
        try:
            won.append(sessions.spend_nonce(session.id, session.nonce))
        except RefusedError as error:
            assert error.reason is Reason.NONCE_USED

    threads = [threading.Thread(target=attempt) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


def test_a_session_ends_after_five_minutes(sessions: Sessions, clock: Clock) -> None:
    session = sessions.open("tdx")
    sessions.admit(session.id, _attested())
    clock.now += SESSION_SECONDS - 0.001
    assert sessions.get(session.id).attested is not None
    assert sessions.of_run("ab" * 16).id == session.id
    clock.now += 0.001
    with _refusal(Reason.SESSION_EXPIRED):
        sessions.get(session.id)
    with _refusal(Reason.SESSION_UNKNOWN):
        sessions.get(session.id)
    with _refusal(Reason.SESSION_UNKNOWN):
        sessions.of_run("ab" * 16)
    assert len(sessions) == 0


def test_an_expired_session_cannot_attest(sessions: Sessions, clock: Clock) -> None:
    session = sessions.open("tdx")
    clock.now += SESSION_SECONDS
    with _refusal(Reason.SESSION_EXPIRED):
        sessions.spend_nonce(session.id, session.nonce)


def test_a_session_that_expires_while_its_evidence_is_judged_is_not_admitted(
    sessions: Sessions, clock: Clock
) -> None:
    session = sessions.open("tdx")
    clock.now += SESSION_SECONDS
    with _refusal(Reason.SESSION_EXPIRED):
        sessions.admit(session.id, _attested())


def test_a_flood_displaces_the_oldest_that_is_not_attested(sessions: Sessions) -> None:
    kept = sessions.open("tdx")
    sessions.admit(kept.id, _attested())
    displaced = sessions.open("tdx")
    for _ in range(20):
        newest = sessions.open("tdx")
    assert len(sessions) == 3
    assert sessions.get(kept.id).attested is not None
    assert sessions.get(newest.id) == newest
    with _refusal(Reason.SESSION_UNKNOWN):
        sessions.get(displaced.id)


def test_when_all_are_attested_the_broker_is_busy(sessions: Sessions, clock: Clock) -> None:
    for number in range(3):
        sessions.admit(sessions.open("tdx").id, _attested(f"{number:032x}"))
    with _refusal(Reason.BUSY):
        sessions.open("tdx")
    clock.now += SESSION_SECONDS
    assert sessions.open("tdx")
    assert len(sessions) == 1


@pytest.mark.parametrize("session_id", ["", "x" * 31, "../x", "0" * 32, "é" * 32])
def test_ids_that_are_none_are_unknown(sessions: Sessions, session_id: str) -> None:
    with _refusal(Reason.SESSION_UNKNOWN):
        sessions.get(session_id)
