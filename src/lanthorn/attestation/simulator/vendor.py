"""What the simulated vendor publishes: certificates once, collateral again and again.

Loads `cryptography.x509`, so only making a vendor and re-issuing pay for it; quoting does not import this.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from lanthorn.attestation.simulator import certificates, documents
from lanthorn.attestation.simulator.keys import VendorKeys, sign_raw
from lanthorn.attestation.simulator.settings import Settings
from lanthorn.errors import FormatError

COLLATERAL_LIFETIME = timedelta(days=30)
# Collateral says it was issued a little before it was, for machines whose clocks differ a little.
ISSUE_HEAD_START = timedelta(hours=1)
EXPIRED_SINCE = timedelta(days=2)


@dataclass(frozen=True)
class VendorCertificates:
    root: x509.Certificate
    ca: x509.Certificate
    tcb_signer: x509.Certificate
    pck: x509.Certificate

    @property
    def pck_chain(self) -> bytes:
        return pem(self.pck, self.ca, self.root)

    def to_pem(self) -> bytes:
        return pem(self.root, self.ca, self.tcb_signer, self.pck)

    @classmethod
    def from_pem(cls, data: bytes) -> VendorCertificates:
        """Read what `to_pem` wrote. Raises `FormatError`."""
        try:
            root, ca, tcb_signer, pck = x509.load_pem_x509_certificates(data)
        except ValueError as error:
            raise FormatError("simulated vendor: malformed certificates") from error
        return cls(root, ca, tcb_signer, pck)


def pem(*chain: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain)


def issue_certificates(keys: VendorKeys, tcb: str, now: datetime) -> VendorCertificates:
    """Make a vendor's certificates and one platform's."""
    root_key, ca_key = keys.private("root"), keys.private("ca")
    return VendorCertificates(
        root=certificates.issue_root(root_key, now),
        ca=certificates.issue_ca(ca_key.public_key(), root_key, now),
        tcb_signer=certificates.issue_tcb_signer(keys.private("tcb_signing").public_key(), root_key, now),
        pck=certificates.issue_pck(keys.private("pck").public_key(), ca_key, now, tcb=tcb),
    )


def reissue_pck(issued: VendorCertificates, keys: VendorKeys, tcb: str, now: datetime) -> VendorCertificates:
    """Give the platform a certificate for other security versions; its key stays."""
    pck = certificates.issue_pck(keys.private("pck").public_key(), keys.private("ca"), now, tcb=tcb)
    return VendorCertificates(issued.root, issued.ca, issued.tcb_signer, pck)


def collateral_window(settings: Settings, now: datetime) -> tuple[datetime, datetime]:
    """Return when the collateral made now says it was issued and runs out."""
    now = now.replace(microsecond=0)
    if settings.collateral == "expired":
        return now - EXPIRED_SINCE - COLLATERAL_LIFETIME, now - EXPIRED_SINCE
    return now - ISSUE_HEAD_START, now + COLLATERAL_LIFETIME


def collateral(
    tee: str, issued: VendorCertificates, keys: VendorKeys, settings: Settings, now: datetime
) -> str:
    """Return the platform's collateral for `tee` as one JSON text, in the form verifiers read."""
    start, end = collateral_window(settings, now)
    signing_key = keys.private("tcb_signing")
    revoked = settings.revoked
    root_crl = certificates.issue_crl(
        issued.root, keys.private("root"), [issued.ca] if revoked == "ca" else [], start, end
    )
    pck_crl = certificates.issue_crl(
        issued.ca, keys.private("ca"), [issued.pck] if revoked == "pck" else [], start, end
    )
    signer_chain = pem(issued.tcb_signer, issued.root).decode()
    info = documents.tcb_info(tee, start, end)
    identity = documents.qe_identity(tee, start, end)
    members = {
        "pck_crl_issuer_chain": pem(issued.ca, issued.root).decode(),
        "root_ca_crl": root_crl.hex(),
        "pck_crl": pck_crl.hex(),
        "tcb_info_issuer_chain": signer_chain,
        "tcb_info": info,
        "tcb_info_signature": sign_raw(signing_key, info.encode()).hex(),
        "qe_identity_issuer_chain": signer_chain,
        "qe_identity": identity,
        "qe_identity_signature": sign_raw(signing_key, identity.encode()).hex(),
    }
    return json.dumps(members, indent=1)
