"""A refusal inside the broker: the code for the client, the words for the owner's log."""

from __future__ import annotations

from lanthorn.errors import BrokerError
from lanthorn.release.reasons import Reason


class RefusedError(BrokerError):
    """The broker says no. `reason` goes on the wire; the message stays here."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
