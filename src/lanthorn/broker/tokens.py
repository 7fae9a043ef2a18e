"""The attestation token: an ES256 JWT of this broker that names the run.

No verdict and no measurement is in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from lanthorn.broker.refusal import RefusedError
from lanthorn.broker.secret_files import read_secret, write_secret
from lanthorn.errors import FormatError
from lanthorn.release.messages import MAX_TOKEN_RESPONSE, SESSION_SECONDS
from lanthorn.release.reasons import Reason

ALGORITHM = "ES256"
ISSUER = "lanthorn"


class TokenSigner:
    """Signs tokens and checks its own. `alg` is fixed: a token cannot choose how it is checked."""

    def __init__(self, key: ECKey) -> None:
        self._key = key

    @staticmethod
    def create(path: Path) -> None:
        """Make a signing key of its own, apart from the key of the TLS certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        write_secret(
            path,
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )

    @classmethod
    def load(cls, path: Path) -> TokenSigner:
        try:
            return cls(ECKey.import_key(read_secret(path).decode("ascii")))
        except (JoseError, ValueError) as error:
            raise FormatError(f"{path} is not a P-256 key in PEM") from error

    def sign(self, *, run_id: str, tee: str, tee_pubkey: Mapping[str, str], now: datetime) -> str:
        """Return a token for five minutes, the life of the session it belongs to."""
        issued = int(now.timestamp())
        claims = {
            "iss": ISSUER,
            "iat": issued,
            "nbf": issued,
            "exp": issued + SESSION_SECONDS,
            "run_id": run_id,
            "tee": tee,
            "tee-pubkey": dict(tee_pubkey),
        }
        return jwt.encode({"alg": ALGORITHM, "typ": "JWT"}, claims, self._key, algorithms=[ALGORITHM])

    def run_id(self, token: str, *, now: datetime) -> str:
        """Return the run that a token of ours names.

        Raises `RefusedError` for any other, expired or changed.
        """
        if len(token) > MAX_TOKEN_RESPONSE:
            raise RefusedError(Reason.TOKEN_INVALID, "the token is too large")
        try:
            claims = jwt.decode(token, self._key, algorithms=[ALGORITHM]).claims
        except (JoseError, ValueError) as error:
            raise RefusedError(Reason.TOKEN_INVALID, f"the token: {type(error).__name__}") from error
        expires, run_id = claims.get("exp"), claims.get("run_id")
        if claims.get("iss") != ISSUER or not isinstance(run_id, str) or not isinstance(expires, int):
            raise RefusedError(Reason.TOKEN_INVALID, "the token is not an attestation token")
        if expires <= now.timestamp():
            raise RefusedError(Reason.SESSION_EXPIRED, "the token has expired")
        return run_id
