"""Evidence of a simulated TDX platform: real structures, no protection."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from lanthorn.attestation.evidence import REGISTER_SIZE, Evidence, lock_event_digest, rtmr3_for_lock
from lanthorn.attestation.simulator.platform import SimulatedPlatform
from lanthorn.errors import RuntimeSetupError


def _now() -> datetime:
    return datetime.now(UTC)


class SimulatedTDX:
    """The simulated platform in `folder`, as a program inside its TD would see it."""

    tee = "tdx"
    simulated = True

    def __init__(self, folder: Path, *, now: Callable[[], datetime] = _now) -> None:
        self._platform = SimulatedPlatform(folder)
        self._now = now

    def bind(self, lock_digest: bytes) -> None:
        """Extend RTMR3 with the lock's event, once per boot.

        Raises `RuntimeSetupError` if RTMR3 holds anything else since the boot.
        """
        with self._platform.registers() as registers:
            if hmac.compare_digest(registers.rtmr3, rtmr3_for_lock(lock_digest)):
                return
            if registers.rtmr3 != bytes(REGISTER_SIZE):
                raise RuntimeSetupError(
                    f"this platform already runs another lock than {lock_digest.hex()[:16]}… since its boot",
                    hint="reboot it: lanthorn simulator reboot",
                )
            registers.extend_rtmr3(lock_event_digest(lock_digest))

    def attest(self, report_data: bytes) -> Evidence:
        """Return a TDX quote over `report_data` (64 bytes) and the registers as they are."""
        return Evidence("tdx", self._platform.tdx_quote(report_data, now=self._now()))
