"""JWE to the attested key: our decryption against joserfc and RFC 7518, and a table of what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwe as peer
from joserfc.jwk import ECKey

from lanthorn.errors import FormatError, IntegrityError
from lanthorn.release import jwe
from lanthorn.release.jwk import parse_public_jwk, public_jwk
from lanthorn.release.strict_json import b64url_decode, b64url_encode

PRIVATE = ec.derive_private_key(0x1234567, ec.SECP256R1())
SECRET = bytes(range(16))


def _message() -> dict[str, Any]:
    return json.loads(jwe.encrypt(SECRET, PRIVATE.public_key()))


def _encoded(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode()


def test_what_the_broker_encrypts_the_client_decrypts() -> None:
    assert jwe.decrypt(_encoded(_message()), PRIVATE) == SECRET


@settings(max_examples=20, deadline=None)
@given(st.binary(max_size=300))
def test_any_plaintext_goes_both_ways(data: bytes) -> None:
    assert jwe.decrypt(jwe.encrypt(data, PRIVATE.public_key()), PRIVATE) == data


def test_the_form_on_the_wire_is_the_flattened_one_with_a_protected_ephemeral_key() -> None:
    message = _message()
    assert set(message) == {"protected", "encrypted_key", "iv", "ciphertext", "tag"}
    header = json.loads(b64url_decode(message["protected"], "header"))
    assert header["alg"] == "ECDH-ES+A256KW" and header["enc"] == "A256GCM"
    assert set(header["epk"]) == {"kty", "crv", "x", "y"} and header["epk"]["crv"] == "P-256"


def test_a_null_aad_means_none() -> None:
    assert jwe.decrypt(_encoded(_message() | {"aad": None}), PRIVATE) == SECRET


def test_a_message_with_other_spacing_and_order_in_its_header_is_understood() -> None:
    """Trustee's encoder orders the header differently; what is authenticated are the bytes sent."""
    key = ECKey.import_key({**public_jwk(PRIVATE.public_key())})
    algorithms = ["ECDH-ES+A256KW", "A256GCM"]
    compact = peer.encrypt_compact(
        {"enc": "A256GCM", "alg": "ECDH-ES+A256KW"}, SECRET, key, algorithms=algorithms
    )
    names = ("protected", "encrypted_key", "iv", "ciphertext", "tag")
    assert jwe.decrypt(_encoded(dict(zip(names, compact.split("."), strict=True))), PRIVATE) == SECRET


def _header(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], None]:
    def mutate(message: dict[str, Any]) -> None:
        header = json.loads(b64url_decode(message["protected"], "header"))
        change(header)
        message["protected"] = b64url_encode(json.dumps(header).encode())

    return mutate


def _flip(name: str, position: int = 0) -> Callable[[dict[str, Any]], None]:
    def mutate(message: dict[str, Any]) -> None:
        data = bytearray(b64url_decode(message[name], name))
        data[position] ^= 1
        message[name] = b64url_encode(bytes(data))

    return mutate


OFF_CURVE = b64url_encode(bytes(31) + b"\x05")

REFUSED: list[tuple[str, Callable[[dict[str, Any]], object], type[FormatError]]] = [
    ("other alg", _header(lambda h: h.update(alg="RSA-OAEP-256")), FormatError),
    ("direct agreement", _header(lambda h: h.update(alg="ECDH-ES")), FormatError),
    ("alg none", _header(lambda h: h.update(alg="none")), FormatError),
    ("other enc", _header(lambda h: h.update(enc="A128GCM")), FormatError),
    ("zip", _header(lambda h: h.update(zip="DEF")), FormatError),
    ("crit", _header(lambda h: h.update(crit=["x"])), FormatError),
    ("party info", _header(lambda h: h.update(apu="YQ")), FormatError),
    ("no epk", _header(lambda h: h.pop("epk")), FormatError),
    ("epk of another curve", _header(lambda h: h["epk"].update(crv="P-521")), FormatError),
    ("epk off the curve", _header(lambda h: h["epk"].update(x=OFF_CURVE)), FormatError),
    ("epk too short", _header(lambda h: h["epk"].update(x="YQ")), FormatError),
    ("epk with a private part", _header(lambda h: h["epk"].update(d="YQ")), FormatError),
    ("reordered header", _header(lambda h: h.update(epk=h.pop("epk"))), IntegrityError),
    ("encrypted key changed", _flip("encrypted_key"), IntegrityError),
    ("iv changed", _flip("iv"), IntegrityError),
    ("ciphertext changed", _flip("ciphertext"), IntegrityError),
    ("tag changed", _flip("tag", 15), IntegrityError),
    ("tag shortened", lambda m: m.update(tag=m["tag"][:-2]), FormatError),
    ("iv of 16 bytes", lambda m: m.update(iv=b64url_encode(bytes(16))), FormatError),
    ("empty encrypted key", lambda m: m.update(encrypted_key=""), FormatError),
    ("padding", lambda m: m.update(tag=m["tag"] + "=="), FormatError),
    ("aad", lambda m: m.update(aad="YQ"), FormatError),
    ("unprotected header", lambda m: m.update(header={}), FormatError),
    ("general serialisation", lambda m: m.update(recipients=[]), FormatError),
    ("no tag", lambda m: m.pop("tag"), FormatError),
    ("a number", lambda m: m.update(iv=1), FormatError),
]


@pytest.mark.parametrize(("mutate", "error"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_every_change_is_refused(
    mutate: Callable[[dict[str, Any]], object], error: type[FormatError]
) -> None:
    message = _message()
    mutate(message)
    with pytest.raises(error) as caught:
        jwe.decrypt(_encoded(message), PRIVATE)
    assert type(caught.value) is error
    assert SECRET.hex() not in str(caught.value)


def test_another_attested_key_does_not_open_it() -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(IntegrityError, match="not encrypted to this attested key"):
        jwe.decrypt(_encoded(_message()), other)


@pytest.mark.parametrize("data", [b"", b"x" * (jwe.MAX_JWE + 1), b"a.b.c.d.e"])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        jwe.decrypt(data, PRIVATE)


def test_a_public_jwk_round_trips() -> None:
    jwk = public_jwk(PRIVATE.public_key())
    assert jwk["alg"] == "ECDH-ES+A256KW"
    assert parse_public_jwk(jwk) == PRIVATE.public_key()


JWK_REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("P-384", {"crv": "P-384"}),
    ("P-521", {"crv": "P-521"}),
    ("secp256k1", {"crv": "secp256k1"}),
    ("RSA", {"kty": "RSA"}),
    ("octets", {"kty": "oct"}),
    ("private", {"d": b64url_encode(bytes(32))}),
    ("other algorithm", {"alg": "ECDH-ES"}),
    ("no algorithm", {"alg": None}),
    ("key use", {"use": "enc"}),
    ("short x", {"x": b64url_encode(bytes(31))}),
    ("long x", {"x": b64url_encode(bytes(33))}),
    ("huge x", {"x": "A" * 10_000}),
    ("x is a number", {"x": 1}),
    ("point at zero", {"x": b64url_encode(bytes(32)), "y": b64url_encode(bytes(32))}),
    ("off the curve", {"x": OFF_CURVE}),
    ("x above the field", {"x": b64url_encode(b"\xff" * 32)}),
    ("not base64url", {"y": "+" * 43}),
]


@pytest.mark.parametrize("change", [c for _, c in JWK_REFUSED], ids=[n for n, _ in JWK_REFUSED])
def test_any_other_public_key_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        parse_public_jwk({**public_jwk(PRIVATE.public_key()), **change})
