"""The decision on one key: what releases it, and that anything missing refuses it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanthorn.broker.decision import Admission, Grant, Verdict, decide_admission, decide_key
from lanthorn.broker.refusal import RefusedError
from lanthorn.release.messages import Resource
from lanthorn.release.reasons import Reason

LOCK, OTHER = "aa" * 32, "bb" * 32
GRANT = Grant(1, "model", LOCK, 7)


def _verdict(**changes: Any) -> Verdict:
    return Verdict(
        **{"policy": 7, "admitted": True, "lock": LOCK, "simulated": False, "detail": {}, **changes}
    )


def _decide(**changes: Any) -> Admission:
    arguments: dict[str, Any] = {
        "resource": Resource("key", "model"),
        "grants": [GRANT],
        "verdicts": [_verdict()],
        "access": {LOCK: frozenset({"read"})},
        "allow_simulated": False,
        "simulation_had_key": False,
    }
    arguments |= changes
    return decide_key(
        arguments.pop("resource"), arguments.pop("grants"), arguments.pop("verdicts"), **arguments
    )


def test_all_conditions_together_release() -> None:
    assert _decide() == Admission(GRANT, simulated=False)


def test_simulated_evidence_needs_the_switch_and_may_have_a_marked_key() -> None:
    changes = {"verdicts": [_verdict(simulated=True)], "allow_simulated": True, "simulation_had_key": True}
    assert _decide(**changes) == Admission(GRANT, simulated=True)


REFUSED: list[tuple[str, dict[str, Any], Reason]] = [
    ("no grant", {"grants": []}, Reason.KEY_NOT_GRANTED),
    ("grant of another key", {"grants": [Grant(1, "photo", LOCK, 7)]}, Reason.KEY_NOT_GRANTED),
    ("key of another name", {"resource": Resource("key", "model2")}, Reason.KEY_NOT_GRANTED),
    ("grant of another lock", {"grants": [Grant(1, "model", OTHER, 7)]}, Reason.KEY_NOT_GRANTED),
    ("no verdict", {"verdicts": []}, Reason.EVIDENCE_REFUSED),
    ("verdict of another policy", {"verdicts": [_verdict(policy=8)]}, Reason.EVIDENCE_REFUSED),
    ("not admitted", {"verdicts": [_verdict(admitted=False)]}, Reason.EVIDENCE_REFUSED),
    ("admitted for another lock", {"verdicts": [_verdict(lock=OTHER)]}, Reason.KEY_NOT_GRANTED),
    ("admitted for no lock", {"verdicts": [_verdict(lock="")]}, Reason.KEY_NOT_GRANTED),
    ("simulated", {"verdicts": [_verdict(simulated=True)]}, Reason.SIMULATED_REFUSED),
    ("had in simulation", {"simulation_had_key": True}, Reason.KEY_USED_IN_SIMULATION),
    ("write only", {"access": {LOCK: frozenset({"write"})}}, Reason.ACCESS_NOT_GRANTED),
    ("no access", {"access": {LOCK: frozenset()}}, Reason.ACCESS_NOT_GRANTED),
    ("unknown lock", {"access": {}}, Reason.ACCESS_NOT_GRANTED),
    ("access of another lock", {"access": {OTHER: frozenset({"read"})}}, Reason.ACCESS_NOT_GRANTED),
    ("run key of an input", {"resource": Resource("run-key", "model")}, Reason.ACCESS_NOT_GRANTED),
    ("unknown kind", {"resource": Resource("spare-key", "model")}, Reason.ACCESS_NOT_GRANTED),
]


@pytest.mark.parametrize(("changes", "reason"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_anything_missing_refuses(changes: dict[str, Any], reason: Reason) -> None:
    with pytest.raises(RefusedError) as caught:
        _decide(**changes)
    assert caught.value.reason is reason


def test_admission_follows_the_same_rules_without_a_key() -> None:
    assert decide_admission([GRANT], [_verdict()], allow_simulated=False) == Admission(GRANT, False)
    for grants, verdicts, reason in (
        ([], [_verdict()], Reason.NO_POLICY),
        ([GRANT], [], Reason.EVIDENCE_REFUSED),
        ([GRANT], [_verdict(lock=OTHER)], Reason.KEY_NOT_GRANTED),
        ([GRANT], [_verdict(simulated=True)], Reason.SIMULATED_REFUSED),
    ):
        with pytest.raises(RefusedError) as caught:
            decide_admission(grants, verdicts, allow_simulated=False)
        assert caught.value.reason is reason


_GRANTS = st.lists(
    st.builds(
        Grant,
        st.integers(1, 5),
        st.sampled_from(["model", "photo"]),
        st.sampled_from([LOCK, OTHER]),
        st.integers(1, 3),
    ),
    max_size=4,
)
_VERDICTS = st.lists(
    st.builds(
        Verdict,
        st.integers(1, 3),
        st.booleans(),
        st.sampled_from([LOCK, OTHER, ""]),
        st.booleans(),
        st.just({}),
    ),
    max_size=3,
    unique_by=lambda verdict: verdict.policy,
)
_ACCESS = st.dictionaries(
    st.sampled_from([LOCK, OTHER]), st.frozensets(st.sampled_from(["read", "write"])), max_size=2
)


@given(
    st.builds(Resource, st.sampled_from(["key", "run-key"]), st.sampled_from(["model", "photo"])),
    _GRANTS,
    _VERDICTS,
    _ACCESS,
    st.booleans(),
    st.booleans(),
)
def test_every_release_satisfies_all_five_conditions(
    resource: Resource,
    grants: list[Grant],
    verdicts: list[Verdict],
    access: dict[str, frozenset[str]],
    allow_simulated: bool,
    simulation_had_key: bool,
) -> None:
    switches = {"allow_simulated": allow_simulated, "simulation_had_key": simulation_had_key}
    try:
        admission = decide_key(resource, grants, verdicts, access, **switches)
    except RefusedError:
        return
    grant = admission.grant
    assert grant in grants and grant.key == resource.name
    (verdict,) = [each for each in verdicts if each.policy == grant.policy]
    assert verdict.admitted and verdict.lock == grant.lock and verdict.simulated == admission.simulated
    assert {"key": "read", "run-key": "write"}[resource.kind] in access[grant.lock]
    assert not admission.simulated or allow_simulated
    assert admission.simulated or not simulation_had_key
