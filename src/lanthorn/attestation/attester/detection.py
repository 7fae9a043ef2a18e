"""Which real TEEs this machine offers evidence of."""

from __future__ import annotations

import os
from pathlib import Path

# Interfaces of TEEs, and which TEE each stands for ("tsm" is whichever confidential VM the kernel runs in).
REAL_TEE_INTERFACES = {
    "/dev/attestation/quote": "sgx",
    "/dev/tdx_guest": "tdx",
    "/dev/sev-guest": "snp",
    "/sys/kernel/config/tsm/report": "tsm",
}


def detect(root: Path = Path("/")) -> tuple[str, ...]:
    """Return which real TEEs this machine offers evidence of; empty where there is none.

    Looks for interfaces only: does not open them. A caller must not fall back to simulated evidence where
    this finds something.
    """
    present = (tee for path, tee in REAL_TEE_INTERFACES.items() if os.path.exists(root / path.lstrip("/")))
    return tuple(dict.fromkeys(present))
