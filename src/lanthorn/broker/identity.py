"""Who the broker is to its clients: a P-256 key, shown in a self-signed certificate and pinned by its hash.

Clients look at nothing but the key, so the certificate's name and dates carry no trust; it is valid for long
and renewing it with the same key changes no pin.
"""

from __future__ import annotations

import ssl
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lanthorn.broker.secret_files import read_secret, write_secret
from lanthorn.errors import FormatError, StorageError
from lanthorn.release.pin import pin_of_spki

VALIDITY = timedelta(days=3650)
CLOCK_SKEW = timedelta(days=1)
_COMMON_NAME = "lanthorn broker"


def create_identity(path: Path, *, now: datetime) -> None:
    """Write a new key and its self-signed certificate to one secret PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _COMMON_NAME)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + VALIDITY)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_secret(path, private + certificate.public_bytes(serialization.Encoding.PEM))


def identity_pin(path: Path) -> str:
    """Return the pin of the certificate in `path`, for `spki` in lanthorn.toml."""
    try:
        certificate = x509.load_pem_x509_certificate(read_secret(path))
    except ValueError as error:
        raise FormatError(f"{path} holds no certificate in PEM") from error
    return pin_of_spki(
        certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def server_context(path: Path) -> ssl.SSLContext:
    """Return a TLS 1.3 server context with the identity in `path`."""
    read_secret(path)  # refuses a key that others may read
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(path)
    except (ssl.SSLError, OSError) as error:
        raise StorageError(f"cannot use {path} for TLS: {type(error).__name__}") from error
    return context
