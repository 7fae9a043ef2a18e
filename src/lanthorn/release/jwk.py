"""The attested key pair's public half as a JWK: EC P-256 for ECDH-ES+A256KW, and nothing else.

Reference: RFC 7517, RFC 7518 section 6.2. RSA, other curves, private members and points off the curve are
refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from lanthorn.errors import FormatError
from lanthorn.release.strict_json import b64url_decode, b64url_encode

KEY_ALGORITHM = "ECDH-ES+A256KW"
CURVE = "P-256"
COORDINATE_SIZE = 32
MAX_TEXT = 64


def public_jwk(key: ec.EllipticCurvePublicKey) -> dict[str, str]:
    """Return the `tee-pubkey` of the KBS protocol for a P-256 key."""
    numbers = key.public_numbers()
    return {
        "kty": "EC",
        "crv": CURVE,
        "alg": KEY_ALGORITHM,
        "x": b64url_encode(numbers.x.to_bytes(COORDINATE_SIZE, "big")),
        "y": b64url_encode(numbers.y.to_bytes(COORDINATE_SIZE, "big")),
    }


def parse_public_jwk(jwk: Mapping[str, Any]) -> ec.EllipticCurvePublicKey:
    """Return the key of a `tee-pubkey`.

    Raises `FormatError` for any other member, curve, algorithm or point.
    """
    expected = {"kty": "EC", "crv": CURVE, "alg": KEY_ALGORITHM}
    if "d" in jwk:
        raise FormatError("tee-pubkey is a private key")
    for name, value in expected.items():
        if jwk.get(name) != value:
            raise FormatError(f"tee-pubkey: {name} is not {value}")
    if jwk.keys() != expected.keys() | {"x", "y"}:
        raise FormatError("tee-pubkey: expected exactly kty, crv, alg, x and y")
    return public_point(jwk)


def public_point(jwk: Mapping[str, Any]) -> ec.EllipticCurvePublicKey:
    """Return the P-256 point `x`, `y`. Raises `FormatError` if it is not on the curve."""
    x, y = _coordinate(jwk, "x"), _coordinate(jwk, "y")
    try:
        return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    except ValueError as error:
        raise FormatError("the public key is not a point of P-256") from error


def _coordinate(jwk: Mapping[str, Any], name: str) -> int:
    text = jwk.get(name)
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        raise FormatError(f"the public key's {name} is not a short string")
    data = b64url_decode(text, f"the public key's {name}")
    if len(data) != COORDINATE_SIZE:
        raise FormatError(f"the public key's {name}: expected {COORDINATE_SIZE} bytes, got {len(data)}")
    return int.from_bytes(data, "big")
