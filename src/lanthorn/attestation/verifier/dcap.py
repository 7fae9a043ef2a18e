"""Verify SGX and TDX quotes: signatures, revocation, validity windows and TCB level.

Does not look at measurements, debug or whether a status is good enough: that is `appraisal`. Time, collateral
and trust anchors are arguments; nothing here reads a clock, a file or the network.
Reference: Intel SGX/TDX DCAP quote generation and verification, PCS API v4. Bytes that no check covers are
listed in docs/unauthenticated-bytes.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

from lanthorn.attestation.claims import Claims, TCBPart
from lanthorn.attestation.evidence import Evidence
from lanthorn.attestation.verifier import bodies, steps, tcb
from lanthorn.attestation.verifier.certificates import Certificate, raw_public_key, raw_signature_holds
from lanthorn.attestation.verifier.collateral import Collateral
from lanthorn.attestation.verifier.documents import QEIdentity, TCBInfo
from lanthorn.attestation.verifier.pck_chain import Platform, check_pck_chain, load_chain, match_anchor
from lanthorn.attestation.verifier.quote import Quote, parse_quote
from lanthorn.attestation.verifier.roots import TrustAnchor
from lanthorn.attestation.verifier.sgx_extension import PCKExtension
from lanthorn.attestation.verifier.signed_documents import SignedDocuments, check_documents
from lanthorn.attestation.verifier.steps import StepFailedError
from lanthorn.errors import FormatError, UsageError


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
    # (1) the chain ends in a pinned key; (2) signatures, windows and revocation
    platform = check_pck_chain(quote.pck_chain, collateral, anchors, now)
    # (3) what the vendor says of versions is signed by the one certificate that may, and is current
    documents = check_documents(quote.tee, collateral, platform, now)
    # (4) it speaks of this platform
    _check_platform(documents.tcb_info, platform.extension)
    # (5) the platform vouches for the quoting enclave, which vouches for the attestation key
    qe = _check_quoting_enclave(quote, platform.pck, documents.qe_identity)
    # (6) the attestation key signed header and body
    _check_quote_signature(quote)
    # (7) how current platform, quoting enclave and module are
    parts = _grade(quote, documents, platform.extension, qe)
    # (8) happened while parsing; (9) claims
    return _claims(quote, platform, documents, parts)


def anchor_of(evidence: Evidence, anchors: Sequence[TrustAnchor]) -> TrustAnchor:
    """Return the anchor whose key the quote's chain *names*, unverified: which collateral to read, no more.

    Raises `StepFailedError` if it names none of them.
    """
    chain = load_chain(_parse(evidence).pck_chain, 3, steps.CHAIN, "pck chain")
    return match_anchor(chain[-1], anchors, "pck chain")


def _parse(evidence: Evidence) -> Quote:
    quote = parse_quote(evidence.quote)
    if quote.tee != evidence.tee:
        raise StepFailedError(steps.QUOTE, "tee of the quote", expected=evidence.tee[:16], found=quote.tee)
    return quote


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
    if qe.debug:
        raise StepFailedError(steps.QE, "the quoting enclave runs in debug mode")
    _check_qe_identity(qe, identity)
    return qe


def _check_qe_identity(qe: bodies.EnclaveReport, identity: QEIdentity) -> None:
    attributes = qe.claims.attributes + qe.claims.xfrm
    mask = identity.misc_select_mask
    misc_select = int.from_bytes(qe.claims.misc_select, "little") & mask
    comparisons = (
        ("mrsigner", identity.mrsigner.hex(), qe.claims.mrsigner.hex()),
        ("isvprodid", str(identity.isv_prod_id), str(qe.claims.isv_prod_id)),
        ("miscselect", f"{identity.misc_select & mask:08x}", f"{misc_select:08x}"),
        (
            "attributes",
            _masked(identity.attributes, identity.attributes_mask),
            _masked(attributes, identity.attributes_mask),
        ),
    )
    for name, expected, found in comparisons:
        if expected != found:
            raise StepFailedError(steps.QE, f"{name} of the quoting enclave", expected=expected, found=found)


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
    quote: Quote, documents: SignedDocuments, pck: PCKExtension, qe: bodies.EnclaveReport
) -> tuple[TCBPart, ...]:
    info, module, tee_tcb_svn = documents.tcb_info, None, b""
    if quote.tee == "tdx":
        td = bodies.parse_td_report(quote.body).claims
        module = tcb.module_part(info, td.tee_tcb_svn, td.mrsignerseam, td.seam_attributes)
        tee_tcb_svn = td.tee_tcb_svn
    platform = tcb.platform_part(info, pck, tee_tcb_svn)
    qe_part = tcb.qe_part(documents.qe_identity, qe.claims.isv_svn)
    parts = tuple(part for part in (platform, qe_part, module) if part is not None)
    for part in parts:
        if part.status == "Revoked":
            raise StepFailedError(steps.TCB, f"tcb level of the {part.part} is revoked")
    return parts


def _claims(
    quote: Quote, platform: Platform, documents: SignedDocuments, parts: tuple[TCBPart, ...]
) -> Claims:
    info, identity = documents.tcb_info, documents.qe_identity
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
        earliest_expiration=min(platform.expirations + documents.expirations),
        sgx=sgx.claims if sgx else None,
        tdx=tdx.claims if tdx else None,
    )
