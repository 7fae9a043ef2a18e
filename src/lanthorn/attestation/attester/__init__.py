"""Make evidence. Runs in the TEE: never imports a verifier or the broker."""

from __future__ import annotations

from lanthorn.attestation.attester.detection import REAL_TEE_INTERFACES, detect

__all__ = ["REAL_TEE_INTERFACES", "detect"]
