"""A hostile hand on the wire: KBS messages byte by byte, over TLS without a pin."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from lanthorn.attestation.evidence import kbs_report_data
from lanthorn.release.jwk import public_jwk
from tests.unit.broker.lab import Lab, Served


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)

    @property
    def refusal(self) -> tuple[int, str, str]:
        """Status, error name and code, after checking that the body has no more than these."""
        assert set(self.json) == {"type", "detail"}, self.json
        assert self.headers["content-type"] == "application/problem+json"
        return self.status, self.json["type"].rpartition("/")[2], self.json["detail"]

    @property
    def cookie(self) -> str:
        return self.headers["set-cookie"].partition(";")[0].partition("=")[2]


def send(
    served: Served, method: str, path: str, body: Any = None, *, cookie: str = "", token: str = ""
) -> Reply:
    """Send one request; a `body` that is not bytes is sent as JSON."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(served.url.removeprefix("https://"), context=context, timeout=20)
    headers = {"Cookie": f"kbs-session-id={cookie}"} if cookie else {}
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    try:
        connection.request(method, path, body=data, headers=headers)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, found, response.read())
    finally:
        connection.close()


def auth_message(**changes: Any) -> dict[str, Any]:
    return {"version": "0.4.0", "tee": "tdx", "extra-params": "", **changes}


class Handshake:
    """A session that is opened but not attested, and the parts of an honest attestation, to be spoilt."""

    def __init__(self, lab: Lab, served: Served, *, lock: str = "classify") -> None:
        self.served = served
        reply = send(served, "POST", "/kbs/v0/auth", auth_message())
        assert reply.status == 200, reply.body
        self.cookie, self.nonce = reply.cookie, reply.json["nonce"]
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.jwk: dict[str, Any] = {**public_jwk(self.private.public_key())}
        self.attester = lab.attester(lock)

    def message(
        self, *, nonce: str = "", jwk: dict[str, Any] | None = None, additional: str = ""
    ) -> dict[str, Any]:
        """Return an attestation whose evidence is bound to exactly what it says."""
        nonce, jwk = nonce or self.nonce, jwk or self.jwk
        quote = self.attester.attest(kbs_report_data(nonce, jwk, additional)).quote
        return {
            "runtime-data": {"nonce": nonce, "tee-pubkey": jwk},
            "tee-evidence": {
                "primary_evidence": {"cc_eventlog": None, "quote": base64.b64encode(quote).decode()},
                "additional_evidence": additional,
            },
        }

    def attest(self, message: Any = None, *, cookie: str = "") -> Reply:
        body = self.message() if message is None else message
        return send(self.served, "POST", "/kbs/v0/attest", body, cookie=cookie or self.cookie)

    def resource(self, path: str, *, token: str = "", cookie: str | None = None) -> Reply:
        chosen = self.cookie if cookie is None else cookie
        return send(self.served, "GET", f"/kbs/v0/resource/{path}", cookie=chosen, token=token)
