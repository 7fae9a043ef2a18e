"""Keys on the wire: flattened JWE, ECDH-ES+A256KW on P-256 with A256GCM, to the attested public key.

Reference: RFC 7516 section 7.2.2, RFC 7518 sections 4.6 and 5.3. The broker encrypts with `joserfc`; the TEE
decrypts here, with the primitives of `cryptography` (docs/adr/release-client-decrypts-jwe.md), so every
release is also a test of one implementation against the other.
"""

from __future__ import annotations

import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from lanthorn.errors import FormatError, IntegrityError
from lanthorn.release.jwk import CURVE, KEY_ALGORITHM, public_jwk, public_point
from lanthorn.release.strict_json import (
    b64url_decode,
    member_object,
    member_string,
    parse_object,
    require_members,
)

CONTENT_ALGORITHM = "A256GCM"
MAX_JWE = 8 * 1024
MAX_HEADER = 1024
WRAPPED_CEK_SIZE = 40
IV_SIZE = 12
TAG_SIZE = 16

_MEMBERS = frozenset({"protected", "encrypted_key", "iv", "ciphertext", "tag"})


def encrypt(plaintext: bytes, recipient: ec.EllipticCurvePublicKey) -> bytes:
    """Return the flattened JWE of `plaintext` for `recipient`, a P-256 key that evidence vouches for."""
    from joserfc import jwe
    from joserfc.jwk import ECKey

    header = {"alg": KEY_ALGORITHM, "enc": CONTENT_ALGORITHM}
    # The compact form puts `epk` into the protected header, which is where clients of the protocol look for
    # it.
    compact = jwe.encrypt_compact(
        header,
        plaintext,
        ECKey.import_key({**public_jwk(recipient)}),
        algorithms=[KEY_ALGORITHM, CONTENT_ALGORITHM],
    )
    protected, encrypted_key, iv, ciphertext, tag = compact.split(".")
    message = {
        "protected": protected,
        "encrypted_key": encrypted_key,
        "iv": iv,
        "ciphertext": ciphertext,
        "tag": tag,
    }
    return json.dumps(message, separators=(",", ":")).encode("ascii")


def decrypt(message: bytes, private_key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the plaintext of a flattened JWE to `private_key`.

    (1) parse with every length bounded; (2) accept exactly one pair of algorithms and a point of P-256;
    (3) agree on the wrapping key; (4) unwrap the content key; (5) decrypt, authenticating header and
    ciphertext. Raises `FormatError` in (1) and (2), `IntegrityError` in (4) and (5).
    """
    parts = _parse(message)
    peer = _ephemeral_key(_protected_header(parts["protected"]))
    wrapping_key = _concat_kdf(private_key.exchange(ec.ECDH(), peer))
    return _open(parts, wrapping_key)


def _parse(message: bytes) -> dict[str, str]:
    value = parse_object(message, limit=MAX_JWE, what="the encrypted key")
    # An `aad` member would change what is authenticated; nobody sends one with these algorithms, null is
    # "absent".
    if value.get("aad", "") is None:
        del value["aad"]
    require_members(value, "the encrypted key", required=_MEMBERS)
    return {name: member_string(value, name, "the encrypted key", limit=MAX_JWE) for name in _MEMBERS}


def _protected_header(text: str) -> dict[str, Any]:
    data = b64url_decode(text, "the protected header")
    header = parse_object(data, limit=MAX_HEADER, what="the protected header")
    require_members(header, "the protected header", required=frozenset({"alg", "enc", "epk"}))
    if header["alg"] != KEY_ALGORITHM or header["enc"] != CONTENT_ALGORITHM:
        raise FormatError(f"the key is not encrypted with {KEY_ALGORITHM} and {CONTENT_ALGORITHM}")
    return header


def _ephemeral_key(header: dict[str, Any]) -> ec.EllipticCurvePublicKey:
    epk = member_object(header, "epk", "the protected header")
    require_members(epk, "epk", required=frozenset({"kty", "crv", "x", "y"}))
    if epk["kty"] != "EC" or epk["crv"] != CURVE:
        raise FormatError(f"epk is not an EC key on {CURVE}")
    return public_point(epk)


def _concat_kdf(shared_secret: bytes) -> bytes:
    """Derive the wrapping key (RFC 7518, 4.6.2); PartyUInfo and PartyVInfo are empty."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash

    name = KEY_ALGORITHM.encode("ascii")
    other_info = len(name).to_bytes(4, "big") + name + bytes(4) + bytes(4) + (256).to_bytes(4, "big")
    return ConcatKDFHash(SHA256(), 32, other_info).derive(shared_secret)


def _open(parts: dict[str, str], wrapping_key: bytes) -> bytes:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

    wrapped = _sized(parts, "encrypted_key", WRAPPED_CEK_SIZE)
    iv, tag = _sized(parts, "iv", IV_SIZE), _sized(parts, "tag", TAG_SIZE)
    ciphertext = b64url_decode(parts["ciphertext"], "the ciphertext")
    try:
        content_key = aes_key_unwrap(wrapping_key, wrapped)
        return AESGCM(content_key).decrypt(iv, ciphertext + tag, parts["protected"].encode("ascii"))
    except (InvalidUnwrap, InvalidTag) as error:
        raise IntegrityError("the key is not encrypted to this attested key pair, or was changed") from error


def _sized(parts: dict[str, str], name: str, size: int) -> bytes:
    data = b64url_decode(parts[name], name)
    if len(data) != size:
        raise FormatError(f"{name} of the encrypted key: expected {size} bytes, got {len(data)}")
    return data
