"""Appraise claims against a policy: which locks, on which platforms, in which state, may have keys."""

from lanthorn.appraisal.appraise import appraise
from lanthorn.appraisal.decide import decide
from lanthorn.appraisal.policy import AppraisalPolicy, PolicyAnchor, Rule
from lanthorn.appraisal.result import AppraisalRefusedError, AttestationResult, Check
from lanthorn.appraisal.text import development_policy, policy_text

__all__ = [
    "AppraisalPolicy",
    "AppraisalRefusedError",
    "AttestationResult",
    "Check",
    "PolicyAnchor",
    "Rule",
    "appraise",
    "decide",
    "development_policy",
    "policy_text",
]
