"""What every attester can do: bind the TEE to a lock, then make evidence."""

from __future__ import annotations

from typing import Protocol

from lanthorn.attestation.evidence import Evidence


class Attester(Protocol):
    """One TEE, seen from inside. `simulated` is for messages only: no verifier believes it."""

    @property
    def tee(self) -> str: ...

    @property
    def simulated(self) -> bool: ...

    def bind(self, lock_digest: bytes) -> None:
        """Bind this boot to a lock before any byte of the program runs; the same lock again changes nothing.

        Raises `RuntimeSetupError` if this boot is bound to something else.
        """

    def attest(self, report_data: bytes) -> Evidence:
        """Return fresh evidence over 64 bytes. Raises `EvidenceUnavailableError` if the TEE gives none."""
