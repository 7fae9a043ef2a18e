"""Policies as TOML text: what a broker stores, and what a development setup starts with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomli_w

from lanthorn.appraisal.policy import AppraisalPolicy, PolicyAnchor, Rule

DEVELOPMENT_ANCHOR = "simulator"
_DEVELOPMENT_HEADER = """\
# For development: this admits SIMULATED evidence, which anyone can make. It protects nothing.
"""


def policy_text(policy: AppraisalPolicy) -> str:
    """Return a policy as TOML that stands alone."""
    return tomli_w.dumps(
        {
            "version": 1,
            "anchors": {
                anchor.trust_anchor.name: _anchor_members(anchor)
                for anchor in policy.anchors
                if anchor.root_pem is not None or anchor.collateral is not None
            },
            "rule": [_rule_members(rule) for rule in policy.rules],
        },
        multiline_strings=True,
    )


def _anchor_members(anchor: PolicyAnchor) -> dict[str, Any]:
    members = {"kind": anchor.trust_anchor.kind}
    if anchor.root_pem is not None:
        members["root"] = anchor.root_pem
    if anchor.collateral is not None:
        members["collateral"] = str(anchor.collateral)
    return members


def _rule_members(rule: Rule) -> dict[str, Any]:
    members: dict[str, Any] = {
        "name": rule.name,
        "locks": [lock.hex() for lock in rule.locks],
        "tees": list(rule.tees),
        "anchors": list(rule.anchors),
        "tcb_statuses": list(rule.tcb_statuses),
        "advisories": list(rule.advisories),
        "minimum_tcb_evaluation_data_number": rule.minimum_tcb_evaluation_data_number,
        "insecure_allow_simulated": rule.insecure_allow_simulated,
        "insecure_allow_debug": rule.insecure_allow_debug,
    }
    if rule.mrenclave:
        members["mrenclave"] = [value.hex() for value in rule.mrenclave]
    if rule.images:
        members["images"] = [
            {name: getattr(image, name).hex() for name in ("mrtd", "rtmr0", "rtmr1", "rtmr2")}
            for image in rule.images
        ]
    return members


def development_policy(locks: Sequence[bytes], root: Path, collateral: Path) -> str:
    """Return the TOML of a policy that releases keys to simulated evidence of these locks: no protection."""
    members = {
        "version": 1,
        "anchors": {
            DEVELOPMENT_ANCHOR: {"kind": "simulated", "root": str(root), "collateral": str(collateral)}
        },
        "rule": [
            {
                "name": "development",
                "locks": [lock.hex() for lock in locks],
                "tees": ["tdx"],
                "anchors": [DEVELOPMENT_ANCHOR],
                "tcb_statuses": ["UpToDate"],
                "insecure_allow_simulated": True,
            }
        ],
    }
    return _DEVELOPMENT_HEADER + tomli_w.dumps(members)
