"""Every setting of the simulator: our verdict, and that dcap-qvl agrees."""

from __future__ import annotations

from datetime import timedelta

import pytest

from lanthorn.attestation.simulator.settings import TCB_LEVELS
from lanthorn.attestation.verifier.steps import StepFailedError
from lanthorn.errors import UsageError

from .conftest import NOW, Bench
from .oracle import oracle_verdict

ADMITTED = [status for status in TCB_LEVELS if status != "Revoked"]

# setting -> TDX status, SGX status
OUTCOMES = [
    *(({"tcb": status}, status, status) for status in ADMITTED),
    ({"qe": "OutOfDate"}, "OutOfDate", "OutOfDate"),
    ({"module": "OutOfDate"}, "OutOfDate", "UpToDate"),
    ({"tcb": "SWHardeningNeeded", "module": "OutOfDate"}, "OutOfDate", "SWHardeningNeeded"),
    (
        {"tcb": "OutOfDateConfigurationNeeded", "qe": "OutOfDate"},
        "OutOfDateConfigurationNeeded",
        "OutOfDateConfigurationNeeded",
    ),
]
# setting -> step that refuses
REFUSALS = [
    ({"tcb": "Revoked"}, 7),
    ({"revoked": "pck"}, 2),
    ({"revoked": "ca"}, 2),
    ({"collateral": "expired"}, 2),
]


@pytest.mark.parametrize(("setting", "tdx", "sgx"), OUTCOMES)
def test_status_and_oracle(bench: Bench, setting: dict[str, str], tdx: str, sgx: str) -> None:
    bench.platform.configure(now=NOW, **setting)
    for tee, expected in (("tdx", tdx), ("sgx", sgx)):
        claims = bench.verify(tee)
        assert claims.tcb_status == expected
        assert claims.simulated and claims.anchor == "sim" and not claims.debug
        verdict = oracle_verdict(
            bench.evidence(tee).quote, bench.collateral_text(tee), bench.platform.root_path, NOW
        )
        assert verdict == (expected, set(claims.advisories))
        assert bool(claims.advisories) == (expected != "UpToDate")
        assert any(part.behind for part in claims.tcb) == (expected != "UpToDate")


@pytest.mark.parametrize(("setting", "step"), REFUSALS)
@pytest.mark.parametrize("tee", ["tdx", "sgx"])
def test_refusal_and_oracle(bench: Bench, tee: str, setting: dict[str, str], step: int) -> None:
    bench.platform.configure(now=NOW, **setting)
    with pytest.raises(StepFailedError) as caught:
        bench.verify(tee)
    assert caught.value.step == step
    quote, text = bench.evidence(tee).quote, bench.collateral_text(tee)
    assert oracle_verdict(quote, text, bench.platform.root_path, NOW)[0].startswith("refused")


@pytest.mark.parametrize("setting", [{"debug": True}, {"sept_ve_disable": False}])
def test_debug_and_weak_tds_verify_where_the_oracle_refuses(bench: Bench, setting: dict[str, bool]) -> None:
    """By design: whether such a TEE gets keys is for appraisal to say."""
    bench.platform.configure(now=NOW, **setting)
    claims = bench.verify("tdx")
    assert claims.tdx is not None
    assert claims.debug == setting.get("debug", False)
    assert claims.tdx.sept_ve_disable == setting.get("sept_ve_disable", True)
    verdict = oracle_verdict(bench.evidence().quote, bench.collateral_text(), bench.platform.root_path, NOW)[
        0
    ]
    assert "Debug mode is enabled" in verdict or "SEPT_VE_DISABLE is not enabled" in verdict


def test_debug_enclave(bench: Bench) -> None:
    bench.platform.configure(now=NOW, debug=True)
    assert bench.verify("sgx").debug


def test_claims_are_those_of_the_quote(bench: Bench) -> None:
    claims = bench.verify("tdx")
    state = bench.platform.state()
    assert claims.tdx is not None and claims.sgx is None
    assert claims.tdx.rtmrs == state.rtmrs
    assert claims.report_data == bytes(range(64))
    assert claims.earliest_expiration == state.collateral_expires
    assert claims.tcb_evaluation_data_number == 18
    enclave = bench.verify("sgx")
    assert enclave.sgx is not None and enclave.sgx.mrenclave == b"\x5e" * 32


def test_shortfall_says_which_component_and_by_how_much(bench: Bench) -> None:
    bench.platform.configure(now=NOW, tcb="OutOfDate")
    platform = bench.verify("tdx").tcb[0]
    assert [str(each) for each in platform.behind] == ["SGX component 1 is 4 behind: newest 8, found 4"]


def test_collateral_is_issued_again_a_day_before_it_runs_out(bench: Bench) -> None:
    first = bench.platform.state().collateral_expires
    bench.platform.refresh(now=first - timedelta(days=2))
    assert bench.platform.state().collateral_expires == first
    later = first - timedelta(hours=23)
    quote = bench.platform.tdx_quote(bytes(64), now=later)
    assert bench.platform.state().collateral_expires > first
    verdict = oracle_verdict(quote, bench.collateral_text(), bench.platform.root_path, later)
    assert verdict == ("UpToDate", set())


@pytest.mark.parametrize("change", [{"tcb": "Fine"}, {"revoked": "root"}, {"colour": "red"}])
def test_unknown_settings_are_refused(bench: Bench, change: dict[str, str]) -> None:
    before = bench.platform.state()
    with pytest.raises(UsageError):
        bench.platform.configure(now=NOW, **change)
    assert bench.platform.state() == before
