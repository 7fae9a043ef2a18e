"""The numbered steps of a verification, and the error that names the one that failed."""

from __future__ import annotations

from lanthorn.errors import VerificationError

ROOT, CHAIN, SIGNED_DOCUMENTS, PLATFORM, QE, QUOTE, TCB, CERTIFICATION, CLAIMS = range(1, 10)

STEPS = {
    ROOT: "trust anchor",
    CHAIN: "certificate chain and revocation",
    SIGNED_DOCUMENTS: "tcb info and qe identity",
    PLATFORM: "platform family",
    QE: "quoting enclave",
    QUOTE: "quote",
    TCB: "tcb level",
    CERTIFICATION: "certification data",
    CLAIMS: "claims",
}


class StepFailedError(VerificationError):
    """Evidence failed at `step` (a key of `STEPS`); `expected`, `found` where values were compared."""

    def __init__(
        self, step: int, what: str, *, expected: str | None = None, found: str | None = None
    ) -> None:
        values = "" if expected is None else f": expected {expected}, got {found}"
        super().__init__(f"step {step} ({STEPS[step]}): {what}{values}")
        self.step = step
        self.expected = expected
        self.found = found
