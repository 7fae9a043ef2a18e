"""What the supervisor and its file server say to one another: JSON lines over a socket pair of their own."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

from lanthorn import errors
from lanthorn.errors import Error, RuntimeSetupError

# Keys, versions and outputs of one run; far above any real job, far below what could exhaust memory.
_MAX_MESSAGE = 64 << 20


class Channel:
    """One end of the pair. Both ends are ours: the program never holds either."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._file = end.makefile("rb")
        self._sending = threading.Lock()

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, kind: str, **fields: Any) -> None:  # noqa: ANN401 - JSON values
        line = json.dumps({"kind": kind, **fields}).encode() + b"\n"
        try:
            with self._sending:
                self._socket.sendall(line)
        except OSError as error:
            raise RuntimeSetupError("the other half of the runtime is gone") from error

    def receive(self) -> dict[str, Any] | None:
        """Return the next message, or None when the other end has gone."""
        try:
            line = self._file.readline(_MAX_MESSAGE)
        except OSError:
            return None
        if not line.endswith(b"\n"):
            return None
        message: dict[str, Any] = json.loads(line)
        return message

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def pair() -> tuple[Channel, Channel]:
    ours, theirs = socket.socketpair()
    return Channel(ours), Channel(theirs)


def pack_error(error: Error) -> dict[str, str | None]:
    return {"class": type(error).__name__, "message": error.message, "hint": error.hint}


def unpack_error(fields: dict[str, Any]) -> Error:
    """Rebuild an error of `lanthorn.errors`; subclasses of other modules come back as their nearest base there."""
    kind = getattr(errors, str(fields["class"]), RuntimeSetupError)
    error: Error = kind(str(fields["message"]), hint=fields["hint"])
    return error
