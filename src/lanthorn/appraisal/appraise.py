"""Compare verified claims with a policy, rule by rule, and keep every comparison."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Iterator
from datetime import datetime

from lanthorn.appraisal.explain import refusal
from lanthorn.appraisal.policy import AppraisalPolicy, Rule
from lanthorn.appraisal.result import (
    AFFIRMING,
    CONTRAINDICATED,
    WARNING,
    AppraisalRefusedError,
    AttestationResult,
    Check,
)
from lanthorn.attestation.claims import Claims, TDXClaims
from lanthorn.attestation.evidence import REPORT_DATA_SIZE, rtmr3_for_lock
from lanthorn.errors import UsageError

_log = logging.getLogger("lanthorn")


def appraise(
    claims: Claims, policy: AppraisalPolicy, *, report_data: bytes, now: datetime
) -> AttestationResult:
    """Return the result of the first rule that admits `claims`.

    `report_data` is what the evidence must be bound to (`kbs_report_data` of this session), `now` must not be
    past the claims' earliest expiration. Does not verify anything: `claims` come from a verifier.
    Raises `AppraisalRefusedError`, whose `result` holds every check of every rule, if none does.
    """
    if len(report_data) != REPORT_DATA_SIZE or now.tzinfo is None:
        raise UsageError("appraisal: expected 64 bytes of report data and a time with a zone")
    always = (_check_binding(claims, report_data), _check_expiration(claims, now))
    checks = list(always)
    for rule in policy.rules:
        tried = tuple(_rule_checks(claims, rule))
        checks += tried
        if all(check.ok for check in always + tried):
            return _admitted(claims, rule, tuple(checks))
    result = AttestationResult(CONTRAINDICATED, None, None, claims, tuple(checks))
    raise AppraisalRefusedError(refusal(result), result)


def _admitted(claims: Claims, rule: Rule, checks: tuple[Check, ...]) -> AttestationResult:
    if claims.simulated:
        _log.warning("rule %r admits simulated evidence: insecure_allow_simulated", rule.name)
    if claims.debug:
        _log.warning("rule %r admits a debug tee: insecure_allow_debug", rule.name)
    clean = not claims.simulated and not claims.debug and claims.tcb_status == "UpToDate"
    lock = _matching_lock(claims, rule)
    return AttestationResult(
        AFFIRMING if clean else WARNING, rule.name, lock.hex() if lock else None, claims, checks
    )


def _check_binding(claims: Claims, report_data: bytes) -> Check:
    ok = hmac.compare_digest(claims.report_data, report_data)
    return Check("report data", ok, report_data.hex(), claims.report_data.hex())


def _check_expiration(claims: Claims, now: datetime) -> Check:
    expected = f"no later than {claims.earliest_expiration:%Y-%m-%dT%H:%M:%SZ}"
    return Check("freshness", now <= claims.earliest_expiration, expected, f"{now:%Y-%m-%dT%H:%M:%SZ}")


def _rule_checks(claims: Claims, rule: Rule) -> Iterator[Check]:
    """Yield every check of one rule; all are made, so that a refusal says everything that is wrong."""
    name = rule.name
    yield _one_of("tee", rule.tees, claims.tee, name)
    yield _one_of("trust anchor", rule.anchors, claims.anchor, name)
    yield _allowed("simulated", claims.simulated, rule.insecure_allow_simulated, name)
    yield _allowed("debug", claims.debug, rule.insecure_allow_debug, name)
    yield _one_of("tcb status", rule.tcb_statuses, claims.tcb_status, name)
    intolerable = [each for each in claims.advisories if each not in rule.advisories]
    expected = ", ".join(rule.advisories) or "none"
    found = ", ".join(claims.advisories) or "none"
    yield Check("advisories", not intolerable, expected, found, name)
    number, minimum = claims.tcb_evaluation_data_number, rule.minimum_tcb_evaluation_data_number
    yield Check("tcb evaluation data number", number >= minimum, f"at least {minimum}", str(number), name)
    if claims.tdx is not None:
        yield from _td_checks(claims.tdx, rule, simulated=claims.simulated)
    elif claims.sgx is not None:
        allowed = tuple(value.hex() for value in rule.mrenclave)
        yield _one_of("mrenclave", allowed, claims.sgx.mrenclave.hex(), name)
        yield Check("lock", len(rule.locks) == 1, "the one its mrenclave covers", "by mrenclave", name)
    else:
        yield Check("claims", False, "of an enclave or a td", "neither", name)


def _td_checks(td: TDXClaims, rule: Rule, *, simulated: bool) -> Iterator[Check]:
    name = rule.name
    yield Check("sept_ve_disable", td.sept_ve_disable, "set", _set(td.sept_ve_disable), name)
    yield Check("migratable", not td.migratable, "not set", _set(td.migratable), name)
    service_td = td.mrservicetd is not None and any(td.mrservicetd)
    found = td.mrservicetd.hex() if td.mrservicetd is not None and service_td else "none"
    yield Check("service td", not service_td, "none", found, name)
    expected = tuple(f"{rtmr3_for_lock(lock).hex()} (lock {lock.hex()})" for lock in rule.locks)
    ok = any(hmac.compare_digest(td.rtmrs[3], rtmr3_for_lock(lock)) for lock in rule.locks)
    yield Check("lock", ok, " or ".join(expected), td.rtmrs[3].hex(), name)
    if not simulated or rule.images:
        yield _check_image(td, rule)


def _check_image(td: TDXClaims, rule: Rule) -> Check:
    measured = (td.mrtd, *td.rtmrs[:3])
    images = [(image.mrtd, image.rtmr0, image.rtmr1, image.rtmr2) for image in rule.images]
    expected = " or ".join(" ".join(value.hex() for value in image) for image in images) or "an image"
    return Check(
        "image", measured in images, expected, " ".join(value.hex() for value in measured), rule.name
    )


def _matching_lock(claims: Claims, rule: Rule) -> bytes | None:
    if claims.tdx is None:
        return rule.locks[0]
    register = claims.tdx.rtmrs[3]
    return next((lock for lock in rule.locks if hmac.compare_digest(register, rtmr3_for_lock(lock))), None)


def _one_of(name: str, allowed: tuple[str, ...], found: str, rule: str) -> Check:
    return Check(name, found in allowed, " or ".join(allowed) or "nothing", found, rule)


def _allowed(name: str, found: bool, allowed: bool, rule: str) -> Check:
    return Check(name, not found or allowed, "allowed" if allowed else "no", "yes" if found else "no", rule)


def _set(value: bool) -> str:
    return "set" if value else "not set"
