"""Say in words why claims were refused, and what in their TCB is behind."""

from __future__ import annotations

from lanthorn.appraisal.result import AttestationResult, Check
from lanthorn.attestation.claims import Claims

SHOWN_VALUE = 20


def refusal(result: AttestationResult) -> str:
    """Return one line: the failed checks of the rule that came closest."""
    by_rule: dict[str, list[Check]] = {}
    for check in result.checks:
        by_rule.setdefault(check.rule, []).append(check)
    general = [check for check in by_rule.pop("", []) if not check.ok]
    if not by_rule:
        return "; ".join([*map(mismatch, general), "the policy has no rules, so it admits nothing"])
    rule, checks = min(by_rule.items(), key=lambda item: sum(not check.ok for check in item[1]))
    failed = general + [check for check in checks if not check.ok]
    others = f" (and {len(by_rule) - 1} other rules did not match)" if len(by_rule) > 1 else ""
    return f"rule {rule!r}: " + "; ".join(map(mismatch, failed)) + others


def mismatch(check: Check) -> str:
    """Return one check as "name mismatch: expected x, got y", with long values cut."""
    return f"{check.name} mismatch: expected {_short(check.expected)}, got {_short(check.found)}"


def _short(value: str) -> str:
    words = (word[:SHOWN_VALUE] + "…" if len(word) > 2 * SHOWN_VALUE else word for word in value.split(" "))
    return " ".join(words)


def tcb_lines(claims: Claims) -> list[str]:
    """Return lines for a person: each part of the TCB, what is behind in it, and the advisories it brings."""
    lines = []
    for part in claims.tcb:
        advisories = f" ({', '.join(part.advisories)})" if part.advisories else ""
        lines.append(f"{part.part}: {part.status}, level of {part.tcb_date[:10]}{advisories}")
        lines += [f"  {shortfall}" for shortfall in part.behind]
    return lines
