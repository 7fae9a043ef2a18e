"""Verify and appraise in one call, with the collateral that the policy names for the evidence's anchor."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from lanthorn.appraisal.appraise import appraise
from lanthorn.appraisal.policy import AppraisalPolicy
from lanthorn.appraisal.result import AttestationResult
from lanthorn.attestation.evidence import Evidence
from lanthorn.attestation.verifier import dcap
from lanthorn.attestation.verifier.collateral import MAX_COLLATERAL_SIZE, Collateral
from lanthorn.storage import read_limited

CollateralReader = Callable[[str], Collateral]


def decide(
    evidence: Evidence,
    policy: AppraisalPolicy,
    *,
    report_data: bytes,
    now: datetime,
    read_collateral: CollateralReader | None = None,
) -> AttestationResult:
    """Return the result for `evidence` under `policy`.

    `read_collateral` gets the name of the anchor that the evidence names (nothing else is known of it yet);
    without one, the file that the policy names is read anew each time.
    Raises `VerificationError`, `AppraisalRefusedError`, and `StorageError`, `FormatError` or `UsageError` for
    collateral that cannot be read.
    """
    anchor = dcap.anchor_of(evidence, policy.trust_anchors)
    collateral = (read_collateral or _from_file(policy))(anchor.name)
    claims = dcap.verify(evidence, collateral, anchors=[anchor], now=now)
    return appraise(claims, policy, report_data=report_data, now=now)


def _from_file(policy: AppraisalPolicy) -> CollateralReader:
    def read(anchor: str) -> Collateral:
        return Collateral.from_json(read_limited(policy.collateral_path(anchor), MAX_COLLATERAL_SIZE))

    return read
