"""Policies as the broker keeps and applies them: self-contained text, with collateral read when it is needed.

Trust anchors belong to a policy: evidence is verified anew for each policy, with that policy's anchors alone.
"""

from __future__ import annotations

import os
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from lanthorn.appraisal.decide import decide
from lanthorn.appraisal.policy import AppraisalPolicy
from lanthorn.appraisal.result import AppraisalRefusedError, AttestationResult
from lanthorn.appraisal.text import development_policy as development_toml
from lanthorn.appraisal.text import policy_text
from lanthorn.attestation.evidence import Evidence
from lanthorn.attestation.verifier.collateral import MAX_COLLATERAL_SIZE, Collateral
from lanthorn.broker.decision import Verdict
from lanthorn.errors import Error, StorageError, UsageError
from lanthorn.job.lock import load_lock
from lanthorn.storage import read_limited, storage_errors

MAX_POLICY_FILE = 1024 * 1024
ROOT_FILE, COLLATERAL_FILE = "root.pem", "collateral.json"


def load_policy(path: Path, lock_digest: bytes, *, allow_simulated: bool) -> str:
    """Return the self-contained text of a policy file.

    Raises `UsageError` if it is malformed, names no rule for the lock (it could never admit it), or admits
    simulated evidence at a broker that was not made for that.
    """
    try:
        text = read_limited(path, MAX_POLICY_FILE).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8") from error
    try:
        policy = AppraisalPolicy.from_toml(
            text, folder=path.parent, read_lock_digest=lambda file: load_lock(file).digest
        )
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}", hint=error.hint) from error
    if lock_digest not in policy.locks:
        raise UsageError(f"{path}: no rule names lock {lock_digest.hex()}")
    if not allow_simulated and any(rule.insecure_allow_simulated for rule in policy.rules):
        raise UsageError(
            f"{path} admits simulated evidence, this broker never does",
            hint="only a broker made with --insecure-allow-simulated can",
        )
    return policy_text(policy)


def development_policy(lock_digest: bytes, simulator: Path) -> str:
    """Return the text of a policy that admits one lock on one simulated platform: no protection."""
    root, collateral = simulator / ROOT_FILE, simulator / COLLATERAL_FILE
    if not root.exists():
        raise StorageError(
            f"no simulated platform in {simulator}", hint=f"make one: lanthorn simulator init {simulator}"
        )
    text = development_toml([lock_digest], root, collateral)
    return policy_text(AppraisalPolicy.from_toml(text))


class PolicyJudge:
    """Verifies and appraises evidence under one policy at a time. Safe for threads."""

    def __init__(self) -> None:
        self._collateral: dict[Path, tuple[tuple[int, ...], Collateral]] = {}

    def judge(self, policy: int, text: str, evidence: Evidence, report_data: bytes, now: datetime) -> Verdict:
        """Return what the policy says. Whatever goes wrong on the way is a verdict against the evidence."""
        try:
            result = self._appraise(_parsed_policy(text), evidence, report_data, now)
        except AppraisalRefusedError as error:
            return _refused(policy, error, _checks(error.result))
        except Error as error:
            return _refused(policy, error, {})
        detail = {"status": result.status, "rule": result.rule, **_checks(result)}
        return Verdict(policy, True, result.lock or "", result.claims.simulated, detail)

    def _appraise(
        self, policy: AppraisalPolicy, evidence: Evidence, report_data: bytes, now: datetime
    ) -> AttestationResult:
        def read(anchor: str) -> Collateral:
            return self._read_collateral(policy.collateral_path(anchor))

        return decide(evidence, policy, report_data=report_data, now=now, read_collateral=read)

    def _read_collateral(self, path: Path) -> Collateral:
        """Return the collateral as the file has it now; parsed again only when the file is another one."""
        with storage_errors("read", path):
            status = os.stat(path)
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        held = self._collateral.get(path)
        if held is None or held[0] != stamp:
            held = (stamp, Collateral.from_json(read_limited(path, MAX_COLLATERAL_SIZE)))
            self._collateral[path] = held
        return held[1]


# Stored text never changes under its number, and parsing certificates for every key would cost milliseconds.
_parsed_policy = lru_cache(maxsize=64)(AppraisalPolicy.from_toml)


def _refused(policy: int, error: Error, checks: dict[str, Any]) -> Verdict:
    detail = {"status": "contraindicated", "refused": error.message, **checks}
    return Verdict(policy, False, "", False, detail)


def _checks(result: AttestationResult) -> dict[str, Any]:
    return {"checks": [check.to_json() for check in result.checks]}
