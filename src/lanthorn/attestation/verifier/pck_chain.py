"""Steps 1 and 2: the quote's certificate chain ends in a trust anchor, and nothing in it is revoked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from lanthorn.attestation.verifier import steps
from lanthorn.attestation.verifier.certificates import (
    Certificate,
    RevocationList,
    check_chain,
    check_window,
    load_crl,
    load_pem_chain,
)
from lanthorn.attestation.verifier.collateral import Collateral
from lanthorn.attestation.verifier.roots import TrustAnchor
from lanthorn.attestation.verifier.sgx_extension import PCKExtension, parse_pck_extension
from lanthorn.attestation.verifier.steps import StepFailedError
from lanthorn.errors import FormatError

FRESH_COLLATERAL = "fetch the platform's current collateral"


@dataclass(frozen=True)
class Platform:
    """A PCK certificate that chains up to `anchor` and is not revoked, and what it says of its platform.

    `expirations` are the last moments of everything that was used to find that out.
    """

    anchor: TrustAnchor
    root_crl: RevocationList
    pck: Certificate
    extension: PCKExtension
    expirations: tuple[datetime, ...]


def check_pck_chain(
    pem: bytes, collateral: Collateral, anchors: Sequence[TrustAnchor], now: datetime
) -> Platform:
    """Check the chain of a quote: anchor, signatures, windows, revocation. Raises `StepFailedError`."""
    chain = load_chain(pem, 3, steps.CHAIN, "pck chain")
    pck, authority, root = chain
    anchor = match_anchor(root, anchors, "pck chain")
    check_chain(chain, steps.CHAIN, "pck chain")
    list_chain = _check_list_issuer(collateral, anchor, authority)
    root_crl = load_crl(collateral.root_ca_crl, root, steps.CHAIN, "root crl")
    pck_crl = load_crl(collateral.pck_crl, authority, steps.CHAIN, "pck crl")
    for name, crl in (("root crl", root_crl), ("pck crl", pck_crl)):
        check_window(crl.last_update, crl.next_update, now, steps.CHAIN, name, hint=FRESH_COLLATERAL)
    certificates = (*chain, *list_chain)
    for certificate in certificates:
        check_certificate_window(certificate, now, steps.CHAIN)
    refuse_revoked((pck,), pck_crl, steps.CHAIN)
    refuse_revoked((authority, root, *list_chain), root_crl, steps.CHAIN)
    expirations = (root_crl.next_update, pck_crl.next_update, *(each.not_after for each in certificates))
    return Platform(anchor, root_crl, pck, _pck_extension(pck), expirations)


def _check_list_issuer(
    collateral: Collateral, anchor: TrustAnchor, authority: Certificate
) -> tuple[Certificate, ...]:
    """Check that the collateral's revocation list comes from the authority that issued this quote's PCK."""
    what = "pck crl issuer chain"
    chain = load_chain(collateral.pck_crl_issuer_chain, 2, steps.CHAIN, what)
    check_root(chain[-1], anchor, what)
    check_chain(chain, steps.CHAIN, what)
    if chain[0].spki != authority.spki:
        raise StepFailedError(
            steps.CHAIN,
            "pck crl is of another authority",
            expected=repr(authority.common_name),
            found=repr(chain[0].common_name),
        )
    return chain


def load_chain(pem: bytes, count: int, step: int, what: str) -> tuple[Certificate, ...]:
    """Load a chain, or say at which step it could not be."""
    try:
        return load_pem_chain(pem, count=count)
    except FormatError as error:
        raise StepFailedError(step, f"{what}: {error.message}") from error


def match_anchor(root: Certificate, anchors: Sequence[TrustAnchor], what: str) -> TrustAnchor:
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


def check_root(root: Certificate, anchor: TrustAnchor, what: str) -> None:
    if root.spki != anchor.public_key:
        raise StepFailedError(
            steps.ROOT,
            f"{what} has another root than the quote",
            expected=_short(anchor.public_key),
            found=_short(root.spki),
        )


def check_certificate_window(certificate: Certificate, now: datetime, step: int) -> None:
    what = f"certificate {certificate.common_name!r}"
    check_window(certificate.not_before, certificate.not_after, now, step, what)


def refuse_revoked(certificates: Sequence[Certificate], crl: RevocationList, step: int) -> None:
    for certificate in certificates:
        if crl.revokes(certificate):
            serial = f"{certificate.serial_number:x}"
            raise StepFailedError(step, f"{certificate.common_name!r} (serial {serial}) is revoked")


def _pck_extension(pck: Certificate) -> PCKExtension:
    if pck.sgx_extension is None or pck.is_ca:
        raise StepFailedError(steps.CHAIN, f"{pck.common_name!r} is not a pck certificate")
    try:
        return parse_pck_extension(pck.sgx_extension)
    except FormatError as error:
        raise StepFailedError(steps.CHAIN, error.message) from error
