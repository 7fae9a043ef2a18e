"""What a policy admits, and for each claim a value that it must refuse."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest

from lanthorn.appraisal import AppraisalPolicy, AppraisalRefusedError, appraise
from lanthorn.appraisal.explain import tcb_lines
from lanthorn.attestation.claims import Shortfall, TCBPart
from lanthorn.attestation.evidence import rtmr3_for_lock
from lanthorn.errors import AppraisalError, UsageError

from .claims import (
    LOCK,
    MRTD,
    NOW,
    OTHER_LOCK,
    REAL,
    REPORT_DATA,
    RTMR0,
    RTMR1,
    RTMR2,
    SGX,
    sgx_claims,
    tdx_claims,
)

LOCKED = rtmr3_for_lock(LOCK)


def judge(claims: Any, text: str = REAL, **options: Any) -> Any:
    options = {"report_data": REPORT_DATA, "now": NOW} | options
    return appraise(claims, AppraisalPolicy.from_toml(text), **options)


def refused(claims: Any, check: str, text: str = REAL, **options: Any) -> AppraisalRefusedError:
    """The named check fails, and no other."""
    with pytest.raises(AppraisalError) as caught:
        judge(claims, text, **options)
    assert isinstance(caught.value, AppraisalRefusedError)
    result = caught.value.result
    assert [each.name for each in result.failed] == [check]
    assert result.status == "contraindicated" and result.rule is None and result.lock is None
    assert f"{check} mismatch: expected" in caught.value.message
    return caught.value


def test_affirming() -> None:
    result = judge(tdx_claims())
    assert (result.status, result.rule, result.lock) == ("affirming", "real", LOCK.hex())
    assert all(check.ok and check.expected and check.found for check in result.checks)
    assert len(result.checks) >= 13


def test_enclave_affirming() -> None:
    result = judge(sgx_claims(), SGX)
    assert (result.status, result.rule, result.lock) == ("affirming", "enclave", LOCK.hex())


def test_warning_for_a_tolerated_status() -> None:
    claims = tdx_claims(tcb_status="SWHardeningNeeded", advisories=("INTEL-SA-00615",))
    assert judge(claims).status == "warning"


MUTATIONS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {"anchor": "other"}, "trust anchor"),
    ({}, {"simulated": True}, "simulated"),
    ({}, {"debug": True}, "debug"),
    ({}, {"tcb_status": "OutOfDate"}, "tcb status"),
    ({}, {"tcb_status": "ConfigurationNeeded"}, "tcb status"),
    ({}, {"tcb_status": ""}, "tcb status"),
    ({}, {"advisories": ("INTEL-SA-00615", "INTEL-SA-01111")}, "advisories"),
    ({}, {"tcb_evaluation_data_number": 16}, "tcb evaluation data number"),
    ({}, {"report_data": bytes(64)}, "report data"),
    ({}, {"earliest_expiration": NOW - timedelta(seconds=1)}, "freshness"),
    ({"rtmrs": (RTMR0, RTMR1, RTMR2, bytes(48))}, {}, "lock"),
    ({"rtmrs": (RTMR0, RTMR1, RTMR2, rtmr3_for_lock(OTHER_LOCK))}, {}, "lock"),
    ({"mrtd": RTMR0}, {}, "image"),
    ({"rtmrs": (MRTD, RTMR1, RTMR2, LOCKED)}, {}, "image"),
    ({"rtmrs": (RTMR0, MRTD, RTMR2, LOCKED)}, {}, "image"),
    ({"rtmrs": (RTMR0, RTMR1, MRTD, LOCKED)}, {}, "image"),
    ({"td_attributes": bytes(8)}, {}, "sept_ve_disable"),
    ({"td_attributes": bytes.fromhex("0000003000000000")}, {}, "migratable"),
    ({"mrservicetd": b"\1" * 48}, {}, "service td"),
]


@pytest.mark.parametrize(("td", "changes", "check"), MUTATIONS)
def test_each_claim_can_refuse(td: dict[str, Any], changes: dict[str, Any], check: str) -> None:
    refused(tdx_claims(td, **changes), check)


def test_service_td_of_zeros_is_none() -> None:
    assert judge(tdx_claims({"mrservicetd": bytes(48)})).status == "affirming"


def test_other_enclave() -> None:
    refused(sgx_claims({"mrenclave": bytes(32)}), "mrenclave", SGX)


def test_other_tee() -> None:
    with pytest.raises(AppraisalRefusedError) as caught:
        judge(sgx_claims())
    assert "tee" in [check.name for check in caught.value.result.failed]
    with pytest.raises(AppraisalRefusedError):
        judge(tdx_claims(), SGX)


def test_claims_without_a_body() -> None:
    with pytest.raises(AppraisalRefusedError):
        judge(tdx_claims().__class__(**(vars(tdx_claims()) | {"tdx": None})))


def test_a_policy_that_names_nothing_matches_nothing() -> None:
    with pytest.raises(AppraisalRefusedError, match="no rules") as caught:
        judge(tdx_claims(), "version = 1")
    assert len(caught.value.result.checks) == 2


def test_every_rule_is_tried_and_kept() -> None:
    two = REAL + REAL.replace("version = 1", "").replace('"real"', '"second"').replace(
        '["UpToDate", "SWHardeningNeeded"]', '["OutOfDate"]'
    )
    result = judge(tdx_claims(tcb_status="OutOfDate"), two)
    assert result.rule == "second" and result.status == "warning"
    assert {check.rule for check in result.checks} == {"", "real", "second"}
    with pytest.raises(AppraisalRefusedError) as caught:
        judge(tdx_claims(tcb_status="ConfigurationNeeded"), two)
    assert {check.rule for check in caught.value.result.failed} == {"real", "second"}
    assert "1 other rules did not match" in caught.value.message


def test_one_of_several_locks_is_named() -> None:
    text = REAL.replace(f'"{LOCK.hex()}"', f'"{OTHER_LOCK.hex()}", "{LOCK.hex()}"')
    assert judge(tdx_claims(), text).lock == LOCK.hex()


DEBUG = REAL.replace("minimum", "insecure_allow_debug = true\nminimum")


def test_insecure_use_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    policy = AppraisalPolicy.from_toml(DEBUG)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    caplog.clear()
    result = appraise(tdx_claims(debug=True), policy, report_data=REPORT_DATA, now=NOW)
    assert result.status == "warning"
    assert "insecure_allow_debug" in caplog.text
    caplog.clear()
    assert appraise(tdx_claims(), policy, report_data=REPORT_DATA, now=NOW).status == "affirming"
    assert not caplog.records


@pytest.mark.parametrize("options", [{"report_data": bytes(63)}, {"now": NOW.replace(tzinfo=None)}])
def test_misuse(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        judge(tdx_claims(), **options)


def test_words_for_what_is_behind() -> None:
    part = TCBPart(
        "platform", "OutOfDate", "2025-05-14T00:00:00Z", ("INTEL-SA-1",), (Shortfall("PCE", 11, 13),)
    )
    assert tcb_lines(tdx_claims(tcb=(part,))) == [
        "platform: OutOfDate, level of 2025-05-14 (INTEL-SA-1)",
        "  PCE is 2 behind: newest 13, found 11",
    ]


def test_checks_as_json() -> None:
    check = judge(tdx_claims()).checks[-1]
    assert set(check.to_json()) == {"name", "ok", "expected", "found", "rule"}
