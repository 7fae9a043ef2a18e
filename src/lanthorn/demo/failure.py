"""The one way a demo fails."""

from __future__ import annotations

from lanthorn.errors import Error


class DemoFailedError(Error):
    """Something was not as promised; the message says what. Ends the demo with exit code 1."""
