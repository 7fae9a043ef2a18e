"""From evidence to a result, with a simulated platform: the default is to refuse it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from lanthorn.appraisal import AppraisalPolicy, AppraisalRefusedError, decide, development_policy
from lanthorn.attestation.attester.simulated import SimulatedTDX
from lanthorn.attestation.simulator.platform import SimulatedPlatform
from lanthorn.errors import FormatError, StorageError, UsageError, VerificationError

from .claims import LOCK, NOW, OTHER_LOCK, REAL, REPORT_DATA


@pytest.fixture
def platform(tmp_path: Path) -> SimulatedPlatform:
    return SimulatedPlatform.create(tmp_path / "simulator", now=NOW)


@pytest.fixture
def attester(platform: SimulatedPlatform) -> SimulatedTDX:
    attester = SimulatedTDX(platform.folder, now=lambda: NOW)
    attester.bind(LOCK)
    return attester


def policy_text(platform: SimulatedPlatform) -> str:
    return development_policy([LOCK], platform.root_path, platform.collateral_path())


def judge(platform: SimulatedPlatform, attester: SimulatedTDX, text: str | None = None, **options):
    policy = AppraisalPolicy.from_toml(text or policy_text(platform))
    options = {"report_data": REPORT_DATA, "now": NOW} | options
    return decide(attester.attest(REPORT_DATA), policy, **options)


def test_simulated_evidence_is_refused_by_default(platform, attester) -> None:
    text = policy_text(platform).replace("insecure_allow_simulated = true", "")
    with pytest.raises(AppraisalRefusedError, match="simulated mismatch: expected no, got yes") as caught:
        judge(platform, attester, text)
    assert [check.name for check in caught.value.result.failed] == ["simulated"]


def test_simulated_evidence_under_a_real_policy_does_not_verify(platform, attester) -> None:
    with pytest.raises(VerificationError, match="no trust anchor"):
        judge(platform, attester, REAL)


def test_allowed_simulated_evidence_is_a_warning(platform, attester, caplog) -> None:
    result = judge(platform, attester)
    assert (result.status, result.rule, result.lock) == ("warning", "development", LOCK.hex())
    assert "admits simulated evidence" in caplog.text


@pytest.mark.parametrize(
    ("setting", "error", "words"),
    [
        ({"tcb": "OutOfDate"}, AppraisalRefusedError, "tcb status mismatch"),
        ({"tcb": "Revoked"}, VerificationError, "step 7"),
        ({"module": "OutOfDate"}, AppraisalRefusedError, "tcb status mismatch"),
        ({"qe": "OutOfDate"}, AppraisalRefusedError, "tcb status mismatch"),
        ({"revoked": "pck"}, VerificationError, "step 2"),
        ({"revoked": "ca"}, VerificationError, "step 2"),
        ({"collateral": "expired"}, VerificationError, "expired"),
        ({"debug": True}, AppraisalRefusedError, "debug mismatch"),
        ({"sept_ve_disable": False}, AppraisalRefusedError, "sept_ve_disable mismatch"),
    ],
)
def test_platform_in_bad_order(platform, attester, setting, error, words) -> None:
    platform.configure(now=NOW, **setting)
    with pytest.raises(error, match=words):
        judge(platform, attester)


def test_another_lock(platform, attester) -> None:
    platform.reboot()
    with pytest.raises(AppraisalRefusedError, match="lock mismatch"):
        judge(platform, attester)
    attester.bind(OTHER_LOCK)
    with pytest.raises(AppraisalRefusedError, match="lock mismatch"):
        judge(platform, attester)


def test_replayed_evidence(platform, attester) -> None:
    with pytest.raises(AppraisalRefusedError, match="report data mismatch"):
        judge(platform, attester, report_data=bytes(64))


def test_stale_collateral(platform, attester) -> None:
    with pytest.raises(VerificationError, match="expired") as caught:
        judge(platform, attester, now=NOW + timedelta(days=40))
    assert caught.value.hint == "fetch the platform's current collateral"


def test_collateral_files(platform, attester) -> None:
    missing = policy_text(platform).replace("collateral.json", "none.json")
    with pytest.raises(StorageError, match=r"none\.json"):
        judge(platform, attester, missing)
    platform.collateral_path().write_text("{}")
    evidence = SimulatedTDX(platform.folder, now=lambda: NOW).attest(REPORT_DATA)
    with pytest.raises(FormatError, match="missing field"):
        decide(evidence, AppraisalPolicy.from_toml(policy_text(platform)), report_data=REPORT_DATA, now=NOW)
    without = "\n".join(
        line for line in policy_text(platform).splitlines() if not line.startswith("collateral")
    )
    with pytest.raises(UsageError, match="has no collateral"):
        judge(platform, attester, without)
