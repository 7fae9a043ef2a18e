"""Step 3: TCB info and QE identity are signed by the one certificate that may sign them, and are current."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from lanthorn.attestation.verifier import steps
from lanthorn.attestation.verifier.certificates import (
    Certificate,
    check_chain,
    check_window,
    raw_signature_holds,
)
from lanthorn.attestation.verifier.collateral import Collateral
from lanthorn.attestation.verifier.documents import (
    QEIdentity,
    TCBInfo,
    parse_qe_identity,
    parse_tcb_info,
)
from lanthorn.attestation.verifier.pck_chain import (
    FRESH_COLLATERAL,
    Platform,
    check_certificate_window,
    check_root,
    load_chain,
    refuse_revoked,
)
from lanthorn.attestation.verifier.steps import StepFailedError
from lanthorn.errors import FormatError

TCB_SIGNER_NAME = "Intel SGX TCB Signing"
_STEP = steps.SIGNED_DOCUMENTS
_IDS = {"sgx": ("SGX", "QE"), "tdx": ("TDX", "TD_QE")}


@dataclass(frozen=True)
class SignedDocuments:
    """What the vendor says of versions; `expirations` are the last moments of what it rests on."""

    tcb_info: TCBInfo
    qe_identity: QEIdentity
    expirations: tuple[datetime, ...]


def check_documents(tee: str, collateral: Collateral, platform: Platform, now: datetime) -> SignedDocuments:
    """Check signer, signature, kind and window of both documents. Raises `StepFailedError`."""
    info_signer = _check_signature(
        "tcb info",
        collateral.tcb_info_issuer_chain,
        collateral.tcb_info,
        collateral.tcb_info_signature,
        platform,
        now,
    )
    identity_signer = _check_signature(
        "qe identity",
        collateral.qe_identity_issuer_chain,
        collateral.qe_identity,
        collateral.qe_identity_signature,
        platform,
        now,
    )
    try:
        info, identity = parse_tcb_info(collateral.tcb_info), parse_qe_identity(collateral.qe_identity)
    except FormatError as error:
        raise StepFailedError(_STEP, error.message) from error
    info_id, identity_id = _IDS[tee]
    _check_document("tcb info", info, info_id, now)
    _check_document("qe identity", identity, identity_id, now)
    certificates = (*info_signer, *identity_signer)
    expirations = (info.next_update, identity.next_update, *(each.not_after for each in certificates))
    return SignedDocuments(info, identity, expirations)


def _check_signature(
    what: str, pem: bytes, text: str, signature: bytes, platform: Platform, now: datetime
) -> tuple[Certificate, ...]:
    chain = load_chain(pem, 2, _STEP, f"{what} issuer chain")
    signer, root = chain
    check_root(root, platform.anchor, f"{what} issuer chain")
    _check_signer(signer, what)
    check_chain(chain, _STEP, f"{what} issuer chain")
    refuse_revoked(chain, platform.root_crl, _STEP)
    for certificate in chain:
        check_certificate_window(certificate, now, _STEP)
    if not _signed(signer.x509, signature, text):
        raise StepFailedError(_STEP, f"signature of the {what} does not hold")
    return chain


def _check_signer(signer: Certificate, what: str) -> None:
    """Refuse every certificate under the root but the TCB signer: a PCK key taken from one machine must not
    be able to sign that all machines are up to date."""
    if signer.common_name != TCB_SIGNER_NAME:
        expected, found = repr(TCB_SIGNER_NAME), repr(signer.common_name)
        raise StepFailedError(_STEP, f"signer of the {what}", expected=expected, found=found)
    if signer.sgx_extension is not None or signer.is_ca:
        raise StepFailedError(_STEP, f"signer of the {what} is a platform or an authority")


@lru_cache(maxsize=64)
def _signed(signer: x509.Certificate, signature: bytes, text: str) -> bool:
    key = signer.public_key()
    data = text.encode("utf-8", "surrogatepass")
    return isinstance(key, ec.EllipticCurvePublicKey) and raw_signature_holds(key, signature, data)


def _check_document(what: str, document: TCBInfo | QEIdentity, wanted: str, now: datetime) -> None:
    if document.id != wanted:
        raise StepFailedError(_STEP, f"kind of {what}", expected=wanted, found=document.id[:16])
    check_window(document.issue_date, document.next_update, now, _STEP, what, hint=FRESH_COLLATERAL)
