"""Certificate chains and revocation lists: P-256 with SHA-256, windows, issuers, revocation.

A chain is taken only in the exact PEM text its certificates encode to, so that no byte of it is free. What a
signature says does not change with time, so chains and lists that verified once are remembered by their
bytes; validity windows are compared on every use.
"""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID, NameOID, SignatureAlgorithmOID

from lanthorn.attestation.verifier.steps import StepFailedError
from lanthorn.errors import FormatError

MAX_CHAIN_LENGTH = 3
MAX_CRL_SIZE = 4 * 1024 * 1024
SGX_EXTENSION_OID = "1.2.840.113741.1.13.1"

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\n([A-Za-z0-9+/=\n]+)\n-----END CERTIFICATE-----\n")
_P256_WITH_SHA256 = ec.ECDSA(hashes.SHA256())
_KNOWN_CRITICAL = {ExtensionOID.KEY_USAGE, ExtensionOID.BASIC_CONSTRAINTS}


@dataclass(frozen=True)
class Certificate:
    """The parts of a certificate that a verification needs, read once."""

    x509: x509.Certificate
    key: ec.EllipticCurvePublicKey
    spki: bytes
    common_name: str
    serial_number: int
    not_before: datetime
    not_after: datetime
    is_ca: bool
    path_length: int | None
    signs_certificates: bool
    sgx_extension: bytes | None


@dataclass(frozen=True)
class RevocationList:
    x509: x509.CertificateRevocationList
    last_update: datetime
    next_update: datetime

    def revokes(self, certificate: Certificate) -> bool:
        return self.x509.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None


def load_pem_chain(pem: bytes, *, count: int) -> tuple[Certificate, ...]:
    """Load exactly `count` certificates. Raises `FormatError` unless `pem` is their exact encoding.

    A single final zero byte, which Intel's quoting library appends, is allowed.
    """
    return _load_pem_chain(pem.removesuffix(b"\0"), count)


@lru_cache(maxsize=256)
def _load_pem_chain(pem: bytes, count: int) -> tuple[Certificate, ...]:
    bodies = _PEM.findall(pem)
    if len(bodies) != count:
        raise FormatError(f"certificate chain: expected {count} certificates in PEM, got {len(bodies)}")
    try:
        certificates = [x509.load_der_x509_certificate(base64.b64decode(body)) for body in bodies]
        if b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates) != pem:
            raise FormatError("certificate chain: not in its exact PEM encoding")
        return tuple(_read_certificate(certificate) for certificate in certificates)
    except FormatError:
        raise
    except Exception as error:  # the library raises a dozen unrelated classes for certificates it dislikes
        raise FormatError(f"certificate chain: malformed certificate ({type(error).__name__})") from error


def _read_certificate(certificate: x509.Certificate) -> Certificate:
    if certificate.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA256:
        raise FormatError("certificate chain: expected ECDSA with SHA-256 signatures")
    if not _ends_in(certificate.public_bytes(Encoding.DER), certificate.signature):
        raise FormatError("certificate chain: signature is not whole bytes")
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise FormatError("certificate chain: expected P-256 keys")
    is_ca, path_length, signs, sgx_extension = False, None, False, None
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _KNOWN_CRITICAL:
            raise FormatError(f"certificate chain: unknown critical extension {extension.oid.dotted_string}")
        value = extension.value
        if isinstance(value, x509.BasicConstraints):
            is_ca, path_length = value.ca, value.path_length
        elif isinstance(value, x509.KeyUsage):
            signs = value.key_cert_sign
        elif isinstance(value, x509.UnrecognizedExtension) and value.oid.dotted_string == SGX_EXTENSION_OID:
            sgx_extension = value.value
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Certificate(
        x509=certificate,
        key=key,
        spki=key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        common_name=str(names[0].value) if len(names) == 1 else "",
        serial_number=certificate.serial_number,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        is_ca=is_ca,
        path_length=path_length,
        signs_certificates=signs,
        sgx_extension=sgx_extension,
    )


def _ends_in(der: bytes, signature: bytes) -> bool:
    """Tell whether the outermost BIT STRING holds `signature` with no unused bits.

    The library takes other counts of unused bits as well, and no signature covers that count.
    """
    return der.endswith(bytes([0x03, len(signature) + 1, 0x00]) + signature)


def check_chain(chain: Sequence[Certificate], step: int, what: str) -> None:
    """Check that each certificate issued the one before it and the last one itself, and that issuers are CAs.

    Does not look at windows (`check_window`), revocation, or whether the last one is anyone's root.
    """
    for intermediates, (subject, issuer) in enumerate(itertools.pairwise(chain)):
        _check_issuer(issuer, intermediates, step, what)
        _check_issued(subject, issuer, step, what)
    _check_issued(chain[-1], chain[-1], step, what)


def _check_issuer(issuer: Certificate, intermediates: int, step: int, what: str) -> None:
    if not issuer.is_ca or not issuer.signs_certificates:
        raise StepFailedError(step, f"{what}: {issuer.common_name!r} may not issue certificates")
    if issuer.path_length is not None and issuer.path_length < intermediates:
        raise StepFailedError(
            step,
            f"{what}: certificates between {issuer.common_name!r} and the leaf",
            expected=f"at most {issuer.path_length}",
            found=str(intermediates),
        )


@lru_cache(maxsize=256)
def _issued(subject: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        subject.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _check_issued(subject: Certificate, issuer: Certificate, step: int, what: str) -> None:
    if not _issued(subject.x509, issuer.x509):
        raise StepFailedError(
            step, f"{what}: {subject.common_name!r} was not issued by {issuer.common_name!r}"
        )


def check_window(
    start: datetime, end: datetime, now: datetime, step: int, what: str, *, hint: str | None = None
) -> None:
    """Refuse anything used before its first or after its last moment."""
    if now < start:
        raise StepFailedError(
            step,
            f"{what} not valid yet",
            expected=f"a time from {start:%Y-%m-%dT%H:%M:%SZ}",
            found=_moment(now),
        )
    if now > end:
        error = StepFailedError(
            step, f"{what} expired", expected=f"a time until {end:%Y-%m-%dT%H:%M:%SZ}", found=_moment(now)
        )
        error.hint = hint
        raise error


def _moment(now: datetime) -> str:
    return f"{now:%Y-%m-%dT%H:%M:%SZ}"


def load_crl(der: bytes, issuer: Certificate, step: int, what: str) -> RevocationList:
    """Load a revocation list that `issuer` signed. Does not look at its window."""
    if len(der) > MAX_CRL_SIZE:
        raise StepFailedError(
            step, f"{what} too long", expected=f"at most {MAX_CRL_SIZE}", found=str(len(der))
        )
    problem, loaded = _load_crl(der, issuer.x509)
    if loaded is None:
        raise StepFailedError(step, f"{what}: {problem} {issuer.common_name!r}")
    return loaded


@lru_cache(maxsize=32)
def _load_crl(der: bytes, issuer: x509.Certificate) -> tuple[str, RevocationList | None]:
    try:
        crl = x509.load_der_x509_crl(der)
        if any(extension.critical for extension in crl.extensions):
            return "has an unknown critical extension, list of", None
        if crl.issuer != issuer.subject:
            return "names another issuer than", None
        if crl.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA256:
            return "is not signed with ECDSA and SHA-256 by", None
        key = issuer.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or not crl.is_signature_valid(key):
            return "is not signed by", None
        if not _ends_in(der, crl.signature):
            return "has a signature that is not whole bytes, list of", None
        last, upcoming = crl.last_update_utc, crl.next_update_utc
    except Exception as error:  # as for certificates
        return f"is malformed ({type(error).__name__}), list of", None
    if upcoming is None:
        return "never expires, list of", None
    return "", RevocationList(crl, last, upcoming)


def raw_signature_holds(key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes) -> bool:
    """Tell whether a raw r||s P-256 signature over `data` holds. For use by the steps, which raise."""
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    try:
        key.verify(utils.encode_dss_signature(r, s), data, _P256_WITH_SHA256)
    except (InvalidSignature, ValueError):
        return False
    return True


def raw_public_key(point: bytes) -> ec.EllipticCurvePublicKey:
    """Load a raw x||y P-256 point. Raises `FormatError` for a point that is not on the curve."""
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + point)
    except ValueError as error:
        raise FormatError("not a point of P-256") from error
