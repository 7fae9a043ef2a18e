"""The simulated vendor's certificates and revocation lists.

Source of the profile: Intel SGX PCK Certificate and CRL Profile Specification. Their organisation says
"simulated"; nothing relies on it. Only the TCB signer has the real one's common name, because verifiers ask
for that name and the simulator should take the same path through them.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from lanthorn.attestation.simulator.documents import FMSPC, PCE_ID, PCE_SVN, component_svns

ORGANISATION = "Lanthorn simulated vendor (no protection)"
ROOT_NAME = "Lanthorn Simulated Root CA"
CA_NAME = "Lanthorn Simulated PCK Platform CA"
PCK_NAME = "Lanthorn Simulated PCK Certificate"
TCB_SIGNER_NAME = "Intel SGX TCB Signing"
LIFETIME = timedelta(days=10 * 365)
# Certificates are valid from before the vendor was made, for machines whose clocks differ a little.
HEAD_START = timedelta(days=1)
CRL_URL = "https://simulated.invalid/root.crl"

SGX_EXTENSION = x509.ObjectIdentifier("1.2.840.113741.1.13.1")
_PREFIX = bytes.fromhex("2a864886f84d010d01")


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION),
        ]
    )


def issue_root(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    return _issue(ROOT_NAME, key.public_key(), ROOT_NAME, key, now, path_length=1)


def issue_ca(
    key: ec.EllipticCurvePublicKey, root_key: ec.EllipticCurvePrivateKey, now: datetime
) -> x509.Certificate:
    return _issue(CA_NAME, key, ROOT_NAME, root_key, now, path_length=0)


def issue_tcb_signer(
    key: ec.EllipticCurvePublicKey, root_key: ec.EllipticCurvePrivateKey, now: datetime
) -> x509.Certificate:
    return _issue(TCB_SIGNER_NAME, key, ROOT_NAME, root_key, now)


def issue_pck(
    key: ec.EllipticCurvePublicKey, ca_key: ec.EllipticCurvePrivateKey, now: datetime, *, tcb: str
) -> x509.Certificate:
    """Issue a platform's certificate for the security versions that have the status `tcb`."""
    return _issue(PCK_NAME, key, CA_NAME, ca_key, now, sgx_extension=sgx_extension(component_svns(tcb)))


def _issue(
    subject: str,
    key: ec.EllipticCurvePublicKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    now: datetime,
    *,
    path_length: int | None = None,
    sgx_extension: bytes | None = None,
) -> x509.Certificate:
    is_ca = path_length is not None
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - HEAD_START)
        .not_valid_after(now + LIFETIME)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
        .add_extension(x509.CRLDistributionPoints([_distribution_point()]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(_key_usage(is_ca), critical=True)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=path_length), critical=True)
    )
    if sgx_extension is not None:
        unrecognized = x509.UnrecognizedExtension(SGX_EXTENSION, sgx_extension)
        builder = builder.add_extension(unrecognized, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _distribution_point() -> x509.DistributionPoint:
    return x509.DistributionPoint([x509.UniformResourceIdentifier(CRL_URL)], None, None, None)


def _key_usage(is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca,
        content_commitment=not is_ca,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )


def issue_crl(
    issuer: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
    revoked: list[x509.Certificate],
    issued: datetime,
    expires: datetime,
) -> bytes:
    """Issue a revocation list in DER that names `revoked`."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(issued)
        .next_update(expires)
        .add_extension(x509.CRLNumber(int(issued.timestamp())), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    for certificate in revoked:
        entry = (
            x509.RevokedCertificateBuilder().serial_number(certificate.serial_number).revocation_date(issued)
        )
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def sgx_extension(svns: tuple[int, ...]) -> bytes:
    """Encode the SGX extension of a PCK certificate."""
    components = [_pair(b"\2" + bytes([number]), _integer(svn)) for number, svn in enumerate(svns, 1)]
    components += [_pair(b"\2\x11", _integer(PCE_SVN)), _pair(b"\2\x12", _tlv(0x04, bytes(svns)))]
    configuration = [_pair(b"\7" + bytes([number]), _tlv(0x01, b"\0")) for number in (1, 2, 3)]
    members = (
        _pair(b"\1", _tlv(0x04, bytes.fromhex("5a" * 16))),
        _pair(b"\2", _tlv(0x30, b"".join(components))),
        _pair(b"\3", _tlv(0x04, PCE_ID)),
        _pair(b"\4", _tlv(0x04, FMSPC)),
        _pair(b"\5", _tlv(0x0A, b"\0")),  # ENUMERATED: standard, not scalable
        _pair(b"\6", _tlv(0x04, bytes.fromhex("a5" * 16))),
        _pair(b"\7", _tlv(0x30, b"".join(configuration))),
    )
    return _tlv(0x30, b"".join(members))


def _pair(suffix: bytes, value: bytes) -> bytes:
    return _tlv(0x30, _tlv(0x06, _PREFIX + suffix) + value)


def _integer(value: int) -> bytes:
    return _tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _tlv(tag: int, content: bytes) -> bytes:
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + content
