"""Pins: the SPKI that is found is the one cryptography.x509 finds, and nothing else is accepted."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lanthorn.errors import FormatError, UsageError
from lanthorn.release import pin
from lanthorn.release.endpoint import BrokerEndpoint

NOW = datetime(2026, 11, 23, tzinfo=UTC)
PIN = "sha256:" + "0" * 64


def _certificate(key: CertificateIssuerPrivateKeyTypes, subject: str = "broker") -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(77)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
    )
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.DER)


def _spki(key: CertificateIssuerPrivateKeyTypes) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


EC_KEY = ec.derive_private_key(99, ec.SECP256R1())
CERTIFICATE = _certificate(EC_KEY)


@pytest.mark.parametrize(
    "key",
    [EC_KEY, ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)],
    ids=["p256", "ed25519", "rsa"],
)
@pytest.mark.parametrize("subject", ["b", "b" * 64])
def test_the_public_key_is_found(key: CertificateIssuerPrivateKeyTypes, subject: str) -> None:
    assert pin.spki_of_certificate(_certificate(key, subject)) == _spki(key)


def test_a_pin_is_the_sha256_of_the_spki() -> None:
    assert pin.pin_of_spki(_spki(EC_KEY)) == "sha256:" + hashlib.sha256(_spki(EC_KEY)).hexdigest()


@settings(max_examples=300)
@given(st.integers(0, len(CERTIFICATE) - 1), st.integers(1, 255))
@example(1, 0x80)
def test_a_changed_certificate_gives_our_error_or_the_key_that_x509_sees(position: int, change: int) -> None:
    data = bytearray(CERTIFICATE)
    data[position] ^= change
    try:
        found = pin.spki_of_certificate(bytes(data))
    except FormatError:
        return
    try:
        theirs = x509.load_der_x509_certificate(bytes(data)).public_key()
    except Exception:
        return  # a certificate that the TLS library cannot use never gets as far as a pin
    encoded = theirs.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert found == encoded


@given(st.binary(max_size=100))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        pin.spki_of_certificate(data)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (CERTIFICATE + b"\0", "trailing"),
        (CERTIFICATE[:-1], "cut short"),
        (b"", "not X.509"),
        (bytes([0x30, 0x80]) + CERTIFICATE[4:], "not DER"),
        (bytes([0x30, 0x83, 0]) + CERTIFICATE[2:], "not DER"),
        (CERTIFICATE + bytes(pin.MAX_CERTIFICATE), "limit"),
    ],
)
def test_what_is_not_strict_der_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        pin.spki_of_certificate(data)


def test_pins_match_any_of_those_given_and_none_of_none() -> None:
    assert pin.matches(PIN, [PIN[:-1] + "1", PIN])
    assert pin.matches(PIN, [PIN, PIN[:-1] + "1"])
    assert not pin.matches(PIN, [PIN[:-1] + "1"])
    assert not pin.matches(PIN, [])


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://127.0.0.1:8443", "127.0.0.1", 8443),
        ("https://keys.example/", "keys.example", 443),
        ("https://[::1]:1", "::1", 1),
    ],
)
def test_an_endpoint_knows_where_to_connect(url: str, host: str, port: int) -> None:
    endpoint = BrokerEndpoint("home", url, (PIN,))
    assert (endpoint.host, endpoint.port) == (host, port)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8443",
        "127.0.0.1:8443",
        "https://",
        "https://h/path",
        "https://h?q",
        "https://user:word@h",
        "https://h:99999",
        "https://h:x",
        "https://h#f",
        "https://[::1",
    ],
)
def test_a_url_that_is_more_or_less_than_https_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="broker home"):
        BrokerEndpoint("home", url, (PIN,))


@pytest.mark.parametrize("pins", [(), (PIN, PIN, PIN), ("0" * 64,), (PIN.upper(),), ("sha256:" + "0" * 63,)])
def test_pins_of_another_form_or_number_are_refused(pins: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="broker home"):
        BrokerEndpoint("home", "https://h", pins)
