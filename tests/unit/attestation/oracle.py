"""The second opinion: dcap-qvl's verdict on a quote, as a status or a refusal."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import dcap_qvl
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding


def oracle_verdict(quote: bytes, collateral_text: str, root: Path, now: datetime) -> tuple[str, set[str]]:
    """Return (status, advisories), or ("refused: why", none)."""
    certificate = x509.load_pem_x509_certificate(root.read_bytes())
    try:
        report = dcap_qvl.verify_with_root_ca(
            quote,
            dcap_qvl.QuoteCollateralV3.from_json(collateral_text),
            certificate.public_bytes(Encoding.DER),
            int(now.timestamp()),
        )
    except ValueError as error:
        return f"refused: {error}", set()
    return report.status, set(report.advisory_ids)
