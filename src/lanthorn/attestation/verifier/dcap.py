"""Verify SGX and TDX quotes: signatures, revocation, validity windows and TCB level.

Does not look at measurements, debug or whether a status is good enough: that is `appraisal`. Time, collateral
and trust anchors are arguments; nothing here reads a clock, a file or the network.
Reference: Intel SGX/TDX DCAP quote generation and verification, PCS API v4. Bytes that no check covers are
listed in docs/unauthenticated-bytes.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from lanthorn.attestation.evidence import Claims, Evidence, TCBPart
from lanthorn.attestation.verifier import bodies, steps, tcb
from lanthorn.attestation.verifier.certificates import (
    Certificate,
    check_chain,
    check_window,
    load_crl,
    load_pem_chain,
    raw_public_key,
    raw_signature_holds,
)
from lanthorn.attestation.verifier.collateral import Collateral
from lanthorn.attestation.verifier.documents import (
    QEIdentity,
    TCBInfo,
    parse_qe_identity,
    parse_tcb_info,
)
from lanthorn.attestation.verifier.quote import Quote, parse_quote
from lanthorn.attestation.verifier.roots import TrustAnchor
from lanthorn.attestation.verifier.sgx_extension import PCKExtension, parse_pck_extension
from lanthorn.attestation.verifier.steps import StepFailedError
from lanthorn.errors import FormatError, UsageError

TCB_SIGNER_NAME = "Intel SGX TCB Signing"
SGX_DEBUG = 0x02
_DOCUMENT_IDS = {"sgx": ("SGX", "QE"), "tdx": ("TDX", "TD_QE")}
_FRESH_COLLATERAL = "fetch the platform's current collateral"


@dataclass(frozen=True)
class _Platform:
    """The outcome of steps 1 and 2: a PCK certificate that chains up to an anchor and is not revoked."""

    anchor: TrustAnchor
    root: Certificate
    pck: Certificate
    extension: PCKExtension
    expirations: tuple[datetime, ...]


def verify(
    evidence: Evidence, collateral: Collateral, *, anchors: Sequence[TrustAnchor], now: datetime
) -> Claims:
    """Return the claims of a genuine quote.

    `now` is compared with every validity window, so callers control the clock. Debug TEEs and TDs without
    SEPT_VE_DISABLE verify too: appraisal refuses them. A revoked TCB level does not.
    Raises `StepFailedError`, a `VerificationError` that names the step, what was expected and what was found.
    """
    if now.tzinfo is None:
        raise UsageError("time of verification: expected one with a time zone")
    quote = _parse(evidence)
    # (1) the chain ends in a pinned key; (2) chain, windows and revocation
    platform = _check_pck_chain(quote, collateral, anchors, now)
    # (3) what the vendor says of versions is signed by the one certificate that may, and is current
    info, identity, expirations = _check_documents(quote.tee, collateral, platform, now)
    # (4) it speaks of this platform
    _check_platform(info, platform.extension)
    # (5) the platform vouches for the quoting enclave, which vouches for the attestation key
    qe = _check_quoting_enclave(quote, platform.pck, identity)
    # (6) the attestation key signed header and body
    _check_quote_signature(quote)
    # (7) how current platform, quoting enclave and module are
    parts = _grade(quote, info, identity, platform.extension, qe)
    # (8) happened while parsing; (9) claims
    return _claims(quote, platform, info, identity, parts, min(platform.expirations + expirations))


def anchor_of(evidence: Evidence, anchors: Sequence[TrustAnchor]) -> TrustAnchor:
    """Return the anchor whose key the quote's chain *names*, unverified: which collateral to read, no more.

    Raises `StepFailedError` if it names none of them.
    """
    chain = _load_chain(_parse(evidence).pck_chain, 3, steps.CHAIN, "pck chain")
    return _match_anchor(chain[-1], anchors, "pck chain")


def _parse(evidence: Evidence) -> Quote:
    quote = parse_quote(evidence.quote)
    if quote.tee != evidence.tee:
        raise StepFailedError(steps.QUOTE, "tee of the quote", expected=evidence.tee[:16], found=quote.tee)
    return quote


def _load_chain(pem: bytes, count: int, step: int, what: str) -> tuple[Certificate, ...]:
    try:
        return load_pem_chain(pem, count=count)
    except FormatError as error:
        raise StepFailedError(step, f"{what}: {error.message}") from error


def _match_anchor(root: Certificate, anchors: Sequence[TrustAnchor], what: str) -> TrustAnchor:
    for anchor in anchors:
        if anchor.public_key == root.spki:
            return anchor
    expected = (
        " or ".join(f"{anchor.name} {_short(anchor.public_key)}" for anchor in anchors) or "no key at all"
    )
    raise StepFailedError(
        steps.ROOT,
        f"{what} ends in a key that is no trust anchor",
        expected=expected,
        found=_short(root.spki),
    )


def _short(spki: bytes) -> str:
    return "sha256:" + hashlib.sha256(spki).hexdigest()[:16]


def _check_root(root: Certificate, anchor: TrustAnchor, what: str) -> None:
    if root.spki != anchor.public_key:
        raise StepFailedError(
            steps.ROOT,
            f"{what} has another root than the quote",
            expected=_short(anchor.public_key),
            found=_short(root.spki),
        )


def _check_pck_chain(
    quote: Quote, collateral: Collateral, anchors: Sequence[TrustAnchor], now: datetime
) -> _Platform:
    chain = _load_chain(quote.pck_chain, 3, steps.CHAIN, "pck chain")
    pck, authority, root = chain
    anchor = _match_anchor(root, anchors, "pck chain")
    check_chain(chain, steps.CHAIN, "pck chain")
    crl_chain = _load_chain(collateral.pck_crl_issuer_chain, 2, steps.CHAIN, "pck crl issuer chain")
    _check_root(crl_chain[-1], anchor, "pck crl issuer chain")
    check_chain(crl_chain, steps.CHAIN, "pck crl issuer chain")
    if crl_chain[0].spki != authority.spki:
        raise StepFailedError(
            steps.CHAIN,
            "pck crl is of another authority",
            expected=repr(authority.common_name),
            found=repr(crl_chain[0].common_name),
        )
    root_crl = load_crl(collateral.root_ca_crl, root, steps.CHAIN, "root crl")
    pck_crl = load_crl(collateral.pck_crl, authority, steps.CHAIN, "pck crl")
    expirations = [crl.next_update for crl in (root_crl, pck_crl)]
    for name, crl in (("root crl", root_crl), ("pck crl", pck_crl)):
        check_window(crl.last_update, crl.next_update, now, steps.CHAIN, name, hint=_FRESH_COLLATERAL)
    for certificate in (*chain, *crl_chain):
        _check_certificate_window(certificate, now, steps.CHAIN)
        expirations.append(certificate.not_after)
    for certificate, crl in (
        (pck, pck_crl),
        (authority, root_crl),
        (crl_chain[0], root_crl),
        (root, root_crl),
    ):
        if crl.revokes(certificate):
            serial = f"{certificate.serial_number:x}"
            raise StepFailedError(steps.CHAIN, f"{certificate.common_name!r} (serial {serial}) is revoked")
    return _Platform(anchor, root, pck, _pck_extension(pck), tuple(expirations))


def _check_certificate_window(certificate: Certificate, now: datetime, step: int) -> None:
    what = f"certificate {certificate.common_name!r}"
    check_window(certificate.not_before, certificate.not_after, now, step, what)


def _pck_extension(pck: Certificate) -> PCKExtension:
    if pck.sgx_extension is None or pck.is_ca:
        raise StepFailedError(steps.CHAIN, f"{pck.common_name!r} is not a pck certificate")
    try:
        return parse_pck_extension(pck.sgx_extension)
    except FormatError as error:
        raise StepFailedError(steps.CHAIN, error.message) from error


def _check_documents(
    tee: str, collateral: Collateral, platform: _Platform, now: datetime
) -> tuple[TCBInfo, QEIdentity, tuple[datetime, ...]]:
    expirations: list[datetime] = []
    signed = (
        ("tcb info", collateral.tcb_info_issuer_chain, collateral.tcb_info, collateral.tcb_info_signature),
        (
            "qe identity",
            collateral.qe_identity_issuer_chain,
            collateral.qe_identity,
            collateral.qe_identity_signature,
        ),
    )
    for what, pem, text, signature in signed:
        signer, root = chain = _load_chain(pem, 2, steps.SIGNED_DOCUMENTS, f"{what} issuer chain")
        _check_root(root, platform.anchor, f"{what} issuer chain")
        _check_document_signer(signer, collateral, platform, what)
        check_chain(chain, steps.SIGNED_DOCUMENTS, f"{what} issuer chain")
        for certificate in chain:
            _check_certificate_window(certificate, now, steps.SIGNED_DOCUMENTS)
            expirations.append(certificate.not_after)
        if not _document_signed(signer.x509, signature, text):
            raise StepFailedError(steps.SIGNED_DOCUMENTS, f"signature of the {what} does not hold")
    info, identity = _parse_documents(collateral)
    documents: tuple[TCBInfo | QEIdentity, ...] = (info, identity)
    for what, document, wanted in zip(
        ("tcb info", "qe identity"), documents, _DOCUMENT_IDS[tee], strict=True
    ):
        if document.id != wanted:
            raise StepFailedError(
                steps.SIGNED_DOCUMENTS, f"kind of {what}", expected=wanted, found=document.id[:16]
            )
        check_window(
            document.issue_date,
            document.next_update,
            now,
            steps.SIGNED_DOCUMENTS,
            what,
            hint=_FRESH_COLLATERAL,
        )
        expirations.append(document.next_update)
    return info, identity, tuple(expirations)


def _check_document_signer(
    signer: Certificate, collateral: Collateral, platform: _Platform, what: str
) -> None:
    """Refuse every certificate under the root but the TCB signer: a PCK key taken from one machine must not
    be able to sign that all machines are up to date."""
    if signer.common_name != TCB_SIGNER_NAME:
        raise StepFailedError(
            steps.SIGNED_DOCUMENTS,
            f"signer of the {what}",
            expected=repr(TCB_SIGNER_NAME),
            found=repr(signer.common_name),
        )
    if signer.sgx_extension is not None or signer.is_ca:
        raise StepFailedError(steps.SIGNED_DOCUMENTS, f"signer of the {what} is a platform or an authority")
    root_crl = load_crl(collateral.root_ca_crl, platform.root, steps.SIGNED_DOCUMENTS, "root crl")
    if root_crl.revokes(signer):
        raise StepFailedError(steps.SIGNED_DOCUMENTS, f"signer of the {what} is revoked")


@lru_cache(maxsize=64)
def _document_signed(signer: x509.Certificate, signature: bytes, text: str) -> bool:
    key = signer.public_key()
    data = text.encode("utf-8", "surrogatepass")
    return isinstance(key, ec.EllipticCurvePublicKey) and raw_signature_holds(key, signature, data)


def _parse_documents(collateral: Collateral) -> tuple[TCBInfo, QEIdentity]:
    try:
        return parse_tcb_info(collateral.tcb_info), parse_qe_identity(collateral.qe_identity)
    except FormatError as error:
        raise StepFailedError(steps.SIGNED_DOCUMENTS, error.message) from error


def _check_platform(info: TCBInfo, pck: PCKExtension) -> None:
    for name, expected, found in (("fmspc", pck.fmspc, info.fmspc), ("pceid", pck.pce_id, info.pce_id)):
        if expected != found:
            raise StepFailedError(
                steps.PLATFORM, f"{name} of the tcb info", expected=expected.hex(), found=found.hex()
            )


def _check_quoting_enclave(quote: Quote, pck: Certificate, identity: QEIdentity) -> bodies.EnclaveReport:
    if not raw_signature_holds(pck.key, quote.qe_report_signature, quote.qe_report):
        raise StepFailedError(steps.QE, "the pck key did not sign the qe report")
    qe = bodies.parse_enclave_report(quote.qe_report)
    bound = hashlib.sha256(quote.attestation_key + quote.qe_auth_data).digest().ljust(64, b"\0")
    if qe.report_data != bound:
        raise StepFailedError(
            steps.QE, "attestation key in the qe report", expected=bound.hex(), found=qe.report_data.hex()
        )
    attributes = qe.claims.attributes + qe.claims.xfrm
    if attributes[0] & SGX_DEBUG:
        raise StepFailedError(steps.QE, "the quoting enclave runs in debug mode")
    misc_select = int.from_bytes(qe.claims.misc_select, "little") & identity.misc_select_mask
    comparisons = (
        ("mrsigner", identity.mrsigner.hex(), qe.claims.mrsigner.hex()),
        ("isvprodid", str(identity.isv_prod_id), str(qe.claims.isv_prod_id)),
        ("miscselect", f"{identity.misc_select & identity.misc_select_mask:08x}", f"{misc_select:08x}"),
        (
            "attributes",
            _masked(identity.attributes, identity.attributes_mask),
            _masked(attributes, identity.attributes_mask),
        ),
    )
    for name, expected, found in comparisons:
        if expected != found:
            raise StepFailedError(steps.QE, f"{name} of the quoting enclave", expected=expected, found=found)
    return qe


def _masked(value: bytes, mask: bytes) -> str:
    return bytes(a & b for a, b in zip(value, mask, strict=True)).hex()


def _check_quote_signature(quote: Quote) -> None:
    try:
        key = raw_public_key(quote.attestation_key)
    except FormatError as error:
        raise StepFailedError(steps.QUOTE, f"attestation key: {error.message}") from error
    if not raw_signature_holds(key, quote.signature, quote.signed):
        raise StepFailedError(steps.QUOTE, "the attestation key did not sign the quote")


def _grade(
    quote: Quote, info: TCBInfo, identity: QEIdentity, pck: PCKExtension, qe: bodies.EnclaveReport
) -> tuple[TCBPart, ...]:
    module = None
    if quote.tee == "tdx":
        td = bodies.parse_td_report(quote.body).claims
        module = tcb.module_part(info, td.tee_tcb_svn, td.mrsignerseam, td.seam_attributes)
        platform = tcb.platform_part(info, pck, td.tee_tcb_svn)
    else:
        platform = tcb.platform_part(info, pck, b"")
    parts = tuple(
        part for part in (platform, tcb.qe_part(identity, qe.claims.isv_svn), module) if part is not None
    )
    for part in parts:
        if part.status == "Revoked":
            raise StepFailedError(steps.TCB, f"tcb level of the {part.part} is revoked")
    return parts


def _claims(
    quote: Quote,
    platform: _Platform,
    info: TCBInfo,
    identity: QEIdentity,
    parts: tuple[TCBPart, ...],
    expiration: datetime,
) -> Claims:
    sgx = bodies.parse_enclave_report(quote.body) if quote.tee == "sgx" else None
    tdx = bodies.parse_td_report(quote.body) if quote.tee == "tdx" else None
    body = sgx or tdx
    if body is None:
        raise StepFailedError(steps.CLAIMS, f"no claims are known for {quote.tee}")
    return Claims(
        tee=quote.tee,
        simulated=platform.anchor.simulated,
        anchor=platform.anchor.name,
        debug=body.debug,
        report_data=body.report_data,
        tcb_status=tcb.worst(parts),
        advisories=tuple(sorted({name for part in parts for name in part.advisories})),
        tcb_evaluation_data_number=min(info.evaluation_data_number, identity.evaluation_data_number),
        fmspc=platform.extension.fmspc.hex(),
        ppid=platform.extension.ppid,
        platform_instance_id=platform.extension.platform_instance_id,
        tcb=parts,
        earliest_expiration=expiration,
        sgx=sgx.claims if sgx else None,
        tdx=tdx.claims if tdx else None,
    )
