"""Decide one key: pure, from the grants, verdicts and rights as they are at this moment.

A key is released only if (1) a grant of exactly this key is active; (2) the grant's own policy admits the
evidence, and for the grant's own lock; (3) that lock lists the key with the access asked for: the raw key for
"read", the run's key for "write"; (4) simulated evidence is admitted by the broker's own switch too; (5) no
simulation ever had the key when a real TEE asks. Whatever is missing is a refusal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lanthorn.broker.refusal import RefusedError
from lanthorn.release.messages import KEY_TYPE, RUN_KEY_TYPE, Resource
from lanthorn.release.reasons import Reason

NEEDED_ACCESS = {KEY_TYPE: "read", RUN_KEY_TYPE: "write"}


@dataclass(frozen=True)
class Grant:
    """The owner's word: this key may go to this lock on platforms that this policy admits."""

    id: int
    key: str
    lock: str
    policy: int


@dataclass(frozen=True)
class Verdict:
    """What one policy says of one piece of evidence. `lock` is the lock it was admitted for, in hex."""

    policy: int
    admitted: bool
    lock: str
    simulated: bool
    detail: Mapping[str, Any]


@dataclass(frozen=True)
class Admission:
    """The grant under which evidence is admitted, and whether a simulation made it."""

    grant: Grant
    simulated: bool


def decide_admission(
    grants: Sequence[Grant], verdicts: Sequence[Verdict], *, allow_simulated: bool
) -> Admission:
    """Decide whether a session may ask for keys: an active grant's policy admits it, for that grant's lock.

    Raises `RefusedError`.
    """
    if not grants:
        raise RefusedError(Reason.NO_POLICY, "no grant is active")
    return _admitting(grants, verdicts, allow_simulated=allow_simulated)


def decide_key(
    resource: Resource,
    grants: Sequence[Grant],
    verdicts: Sequence[Verdict],
    access: Mapping[str, frozenset[str]],
    *,
    allow_simulated: bool,
    simulation_had_key: bool,
) -> Admission:
    """Decide one key by the five conditions above.

    `access` is what each lock does with the key, by lock digest. Raises `RefusedError`.
    """
    own = [grant for grant in grants if grant.key == resource.name]
    if not own:
        raise RefusedError(Reason.KEY_NOT_GRANTED, f"no active grant of key {resource.name}")
    admission = _admitting(own, verdicts, allow_simulated=allow_simulated)
    needed = NEEDED_ACCESS.get(resource.kind)
    if needed is None or needed not in access.get(admission.grant.lock, frozenset()):
        words = f"lock {admission.grant.lock} gives no such access: {resource.kind} of {resource.name}"
        raise RefusedError(Reason.ACCESS_NOT_GRANTED, words)
    if simulation_had_key and not admission.simulated:
        words = f"key {resource.name} was released to simulated evidence before"
        raise RefusedError(Reason.KEY_USED_IN_SIMULATION, words)
    return admission


def _admitting(grants: Sequence[Grant], verdicts: Sequence[Verdict], *, allow_simulated: bool) -> Admission:
    by_policy = {verdict.policy: verdict for verdict in verdicts if verdict.admitted}
    concerned = [by_policy[grant.policy] for grant in grants if grant.policy in by_policy]
    if not concerned:
        raise RefusedError(Reason.EVIDENCE_REFUSED, "no policy of these grants admits the evidence")
    refusal = RefusedError(Reason.KEY_NOT_GRANTED, "the evidence is of a lock that has no such grant")
    for grant in grants:
        verdict = by_policy.get(grant.policy)
        if verdict is None or verdict.lock != grant.lock:
            continue
        if not verdict.simulated or allow_simulated:
            return Admission(grant, verdict.simulated)
        refusal = RefusedError(
            Reason.SIMULATED_REFUSED, "this broker was made without --insecure-allow-simulated"
        )
    raise refusal
