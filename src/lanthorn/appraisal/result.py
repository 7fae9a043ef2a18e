"""The outcome of an appraisal: a status word, the rule that admitted, and every check that was made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lanthorn.attestation.claims import Claims
from lanthorn.errors import AppraisalError

AFFIRMING, WARNING, CONTRAINDICATED = "affirming", "warning", "contraindicated"


@dataclass(frozen=True)
class Check:
    """One comparison. `rule` is empty for those that no rule can change."""

    name: str
    ok: bool
    expected: str
    found: str
    rule: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "ok": self.ok,
            "expected": self.expected,
            "found": self.found,
            "rule": self.rule,
        }


@dataclass(frozen=True)
class AttestationResult:
    """What appraisal made of claims. The status words are those of EAR (draft-ietf-rats-ear).

    affirming: a rule admits real evidence in good order. warning: a rule admits it in spite of something (it
    is simulated, a debug TEE, or not up to date). contraindicated: nothing admits it; then `rule` and `lock`
    are `None`. `lock` is the hex digest of the lock the evidence stands for.
    """

    status: str
    rule: str | None
    lock: str | None
    claims: Claims
    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.ok)


class AppraisalRefusedError(AppraisalError):
    """No rule admits the claims; `result` holds every check of every rule that was tried."""

    def __init__(self, message: str, result: AttestationResult) -> None:
        super().__init__(message)
        self.result = result
