"""Choose where a job runs: the strongest target this machine has, and never a weaker one in silence."""

from __future__ import annotations

import logging
from pathlib import Path

from lanthorn.attestation.attester import detect
from lanthorn.attestation.attester.base import Attester
from lanthorn.attestation.attester.simulated import SimulatedTDX
from lanthorn.errors import EvidenceUnavailableError

NOT_PROTECTED = "NOT PROTECTED: simulated platform, no TEE: the operator of this machine can read everything"

log = logging.getLogger("lanthorn")


def choose_attester(simulator: Path, *, insecure_simulated: bool) -> Attester:
    """Return what makes this machine's evidence.

    A machine with a TEE is never run as a simulation unless `insecure_simulated` asks for it: raises
    `EvidenceUnavailableError` there, because this version makes no evidence of real TEEs yet.
    """
    found = detect()
    if found and not insecure_simulated:
        raise EvidenceUnavailableError(
            f"this machine has {', '.join(found)}, but this version makes evidence of simulated platforms only",
            hint="--insecure-simulated runs it without any protection",
        )
    if found:
        log.warning("insecure_simulated: the TEE of this machine is not used")
    return SimulatedTDX(simulator)
