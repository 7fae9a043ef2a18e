"""Handshakes in progress and attested sessions: in memory, bounded, five minutes each.

A nonce belongs to one session and is spent by the first attestation that names the session, whatever comes of
it. Nothing survives a restart, so no evidence can be replayed across one: the nonce in it is unknown.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric import ec

from lanthorn.attestation.evidence import Evidence
from lanthorn.broker.refusal import RefusedError
from lanthorn.release.messages import SESSION_SECONDS, is_session_id
from lanthorn.release.reasons import Reason

MAX_SESSIONS = 4096
NONCE_SIZE = 32
ID_SIZE = 16


@dataclass(frozen=True)
class Attested:
    """What a session proved: kept whole, because every key is decided with it again."""

    run_id: str
    evidence: Evidence
    report_data: bytes
    public_key: ec.EllipticCurvePublicKey


@dataclass(frozen=True)
class Session:
    id: str
    tee: str
    nonce: str
    opened: float
    nonce_used: bool = False
    attested: Attested | None = None


class Sessions:
    """Sessions by id. Safe for threads. `clock` is monotonic, in seconds."""

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        random: Callable[[int], bytes] = secrets.token_bytes,
        limit: int = MAX_SESSIONS,
    ) -> None:
        self._clock, self._random, self._limit = clock, random, limit
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._by_run: dict[str, str] = {}
        self._lock = threading.Lock()

    def open(self, tee: str) -> Session:
        """Open a session with a fresh nonce.

        When there are too many, the oldest that is not attested makes room, so that a flood of requests
        does not lock everybody out for five minutes. Raises `RefusedError` (busy) if all are attested.
        """
        session = Session(self._random(ID_SIZE).hex(), tee, self._random(NONCE_SIZE).hex(), self._clock())
        with self._lock:
            self._drop_expired()
            if len(self._sessions) >= self._limit:
                self._make_room()
            self._sessions[session.id] = session
        return session

    def get(self, session_id: str) -> Session:
        """Return an open session. Raises `RefusedError` for an unknown or expired one."""
        with self._lock:
            return self._live(session_id)

    def of_run(self, run_id: str) -> Session:
        """Return the session that attested as this run. Raises `RefusedError` as `get` does."""
        with self._lock:
            session_id = self._by_run.get(run_id)
            if session_id is None:
                raise RefusedError(Reason.SESSION_UNKNOWN, "no session of this run")
            return self._live(session_id)

    def spend_nonce(self, session_id: str, nonce: str) -> Session:
        """Mark a session's nonce as used, then compare it.

        Raises `RefusedError` if used before, or another one.
        """
        with self._lock:
            session = self._live(session_id)
            if session.nonce_used:
                raise RefusedError(Reason.NONCE_USED, "the session's nonce was used before")
            session = self._sessions[session_id] = replace(session, nonce_used=True)
        if not hmac.compare_digest(session.nonce.encode(), nonce.encode()):
            raise RefusedError(Reason.NONCE_MISMATCH, "the nonce is not this session's")
        return session

    def admit(self, session_id: str, attested: Attested) -> None:
        """Remember what a session proved. Raises `RefusedError` if it expired meanwhile."""
        with self._lock:
            session = self._live(session_id)
            self._sessions[session_id] = replace(session, attested=attested)
            self._by_run[attested.run_id] = session_id

    def __len__(self) -> int:
        return len(self._sessions)

    def _live(self, session_id: str) -> Session:
        session = self._sessions.get(session_id) if is_session_id(session_id) else None
        if session is None:
            raise RefusedError(Reason.SESSION_UNKNOWN, "no such session")
        if self._is_expired(session):
            self._remove(session)
            raise RefusedError(Reason.SESSION_EXPIRED, f"the session is older than {SESSION_SECONDS} s")
        return session

    def _is_expired(self, session: Session) -> bool:
        return self._clock() - session.opened >= SESSION_SECONDS

    def _drop_expired(self) -> None:
        # Insertion order is age order: every session lives equally long.
        while self._sessions:
            oldest = next(iter(self._sessions.values()))
            if not self._is_expired(oldest):
                return
            self._remove(oldest)

    def _make_room(self) -> None:
        for session in self._sessions.values():
            if session.attested is None:
                self._remove(session)
                return
        raise RefusedError(Reason.BUSY, f"{self._limit} attested sessions are open")

    def _remove(self, session: Session) -> None:
        del self._sessions[session.id]
        if session.attested is not None:
            del self._by_run[session.attested.run_id]
