"""All findings together, and the target that `lanthorn run` would pick here."""

from __future__ import annotations

from dataclasses import dataclass

from lanthorn.attestation.attester import detect
from lanthorn.doctor.finding import Finding
from lanthorn.doctor.machine import Machine
from lanthorn.doctor.native import check_native
from lanthorn.doctor.software import check_software
from lanthorn.doctor.tees import check_tees


@dataclass(frozen=True)
class Diagnosis:
    """What a machine has. `tees` are the real ones that `lanthorn run` would find."""

    findings: tuple[Finding, ...]
    tees: tuple[str, ...]

    @property
    def blockers(self) -> tuple[str, ...]:
        """Names of what keeps the native target from running."""
        return tuple(finding.name for finding in self.findings if finding.blocks)

    @property
    def ready(self) -> bool:
        """Whether `lanthorn run` can run a job here.

        False on a machine with a TEE too: this version cannot make its evidence, and does not run simulated there
        unless it is told to.
        """
        return not self.blockers and not self.tees

    @property
    def verdict(self) -> str:
        """One line: which target `lanthorn run` would pick, and whether it protects."""
        if self.blockers:
            return f"target: none: {', '.join(self.blockers)} missing"
        if self.tees:
            return (
                f"target: none: this machine has {', '.join(self.tees)}, whose evidence this version cannot make yet;"
                " --insecure-simulated would run NOT PROTECTED"
            )
        return "target: native, simulated: NOT PROTECTED, the operator of this machine can read everything"


def diagnose(machine: Machine) -> Diagnosis:
    """Look at everything. Raises nothing: what cannot be looked at is a finding."""
    findings = (*check_tees(machine), *check_native(machine), *check_software(machine))
    return Diagnosis(findings, detect(machine.root))
