"""Get keys from a broker: the attester's side of the KBS protocol. Runs in the TEE, in the runtime's process.

One client is one session: a key pair of its own, evidence bound to it, keys encrypted to it. The private key
and the wrap keys stay in this process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec

from lanthorn.attestation.evidence import kbs_report_data
from lanthorn.errors import BrokerError, BrokerUnreachableError, FormatError, KeyReleaseDeniedError
from lanthorn.keys import WrapKey
from lanthorn.release import messages
from lanthorn.release.connection import Answer, PinnedConnection
from lanthorn.release.endpoint import BrokerEndpoint
from lanthorn.release.jwe import MAX_JWE, decrypt
from lanthorn.release.jwk import public_jwk
from lanthorn.release.reasons import HINTS, Reason

if TYPE_CHECKING:
    from lanthorn.attestation.attester.base import Attester

__all__ = ["BrokerEndpoint", "ReleaseClient"]

DEFAULT_TIMEOUT = 20.0
"""Seconds for each of connecting, sending and receiving; the handshake itself takes some 10 ms."""


class ReleaseClient:
    """A session with one broker.

    Every method raises `BrokerUnreachableError` when nobody answers (worth a retry), `KeyReleaseDeniedError`
    with the broker's reason code when it says no, and `BrokerError` for a wrong certificate or a protocol
    violation.
    """

    def __init__(
        self, endpoint: BrokerEndpoint, attester: Attester, *, timeout: float = DEFAULT_TIMEOUT
    ) -> None:
        self._endpoint = endpoint
        self._attester = attester
        self._connection = PinnedConnection(endpoint, timeout=timeout)
        self._private_key: ec.EllipticCurvePrivateKey | None = None
        self._cookie = ""

    def attest(self) -> str:
        """Prove what runs here and return the run id that the broker gave this run.

        (1) a fresh key pair; (2) the broker's nonce; (3) evidence bound to both; (4) the broker's token.
        """
        self._private_key = ec.generate_private_key(ec.SECP256R1())
        nonce = self._challenge()
        jwk = public_jwk(self._private_key.public_key())
        evidence = self._attester.attest(kbs_report_data(nonce, jwk, ""))
        attestation = messages.Attestation(nonce=nonce, tee_pubkey={**jwk}, quote=evidence.quote)
        answer = self._post("attest", attestation.to_bytes(), messages.MAX_TOKEN_RESPONSE)
        try:
            return messages.run_id_of(answer.body)[1]
        except FormatError as error:
            raise self._violation(error) from error

    def fetch_key(self, name: str) -> WrapKey:
        """Return the owner's wrap key `name`: for what the job reads."""
        return self._fetch(messages.KEY_TYPE, name)

    def fetch_run_key(self, name: str) -> WrapKey:
        """Return the key of this run alone under the owner's key `name`: for what the job writes."""
        return self._fetch(messages.RUN_KEY_TYPE, name)

    def close(self) -> None:
        """Forget the session and the private key."""
        self._connection.close()
        self._private_key = None
        self._cookie = ""

    def __enter__(self) -> ReleaseClient:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _challenge(self) -> str:
        request = messages.Request(messages.PROTOCOL_VERSION, self._attester.tee)
        self._cookie = ""
        answer = self._post("auth", request.to_bytes(), messages.MAX_CHALLENGE)
        self._cookie = _session_cookie(answer)
        if not self._cookie:
            raise BrokerError(f"broker {self._endpoint.name} opened no session")
        try:
            return messages.Challenge.parse(answer.body).nonce
        except FormatError as error:
            raise self._violation(error) from error

    def _fetch(self, kind: str, name: str) -> WrapKey:
        if self._private_key is None:
            raise BrokerError(f"broker {self._endpoint.name}: a key was asked for before attestation")
        if not messages.KEY_NAME.fullmatch(name):
            raise BrokerError(f"broker {self._endpoint.name}: not a key name: {name[:80]!r}")
        path = messages.Resource(kind, name).path
        answer = self._checked(
            self._connection.exchange("GET", path, headers=self._headers(), limit=MAX_JWE), f"key {name}"
        )
        try:
            return WrapKey(decrypt(answer.body, self._private_key))
        except FormatError as error:
            raise self._violation(error) from error

    def _post(self, step: str, body: bytes, limit: int) -> Answer:
        headers = {"Content-Type": "application/json", **self._headers()}
        path = f"{messages.PREFIX}/{step}"
        answer = self._connection.exchange("POST", path, body=body, headers=headers, limit=limit)
        return self._checked(answer, "attestation" if step == "attest" else "session")

    def _headers(self) -> dict[str, str]:
        return {"Cookie": f"{messages.SESSION_COOKIE}={self._cookie}"} if self._cookie else {}

    def _checked(self, answer: Answer, what: str) -> Answer:
        """Return a success; raise for the rest with the stable code and nothing else of what was sent."""
        if answer.status == 200:
            return answer
        name, code = self._endpoint.name, messages.problem_code(answer.body)
        if answer.status in (401, 403, 404):
            raise KeyReleaseDeniedError(f"broker {name} refused the {what}: {code}", hint=HINTS.get(code))
        if answer.status == 503 or code == Reason.BUSY.value:
            raise BrokerUnreachableError(f"broker {name} cannot serve the {what} now: {code}")
        raise BrokerError(f"broker {name} failed on the {what}: status {answer.status}, {code}")

    def _violation(self, error: FormatError) -> BrokerError:
        return BrokerError(f"broker {self._endpoint.name} broke the protocol: {error.message}")


def _session_cookie(answer: Answer) -> str:
    """Return the session's id from Set-Cookie (RFC 6265, section 5.2), or "" when there is none."""
    for header in answer.cookies:
        name, _, value = header.partition(";")[0].partition("=")
        if name.strip() == messages.SESSION_COOKIE and messages.is_session_id(value.strip()):
            return value.strip()
    return ""
