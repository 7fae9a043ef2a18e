"""What tests of protected files share."""

from __future__ import annotations

import pytest

from tests.unit.protected.helpers import CountingGCM


@pytest.fixture
def one_use_keys(monkeypatch: pytest.MonkeyPatch) -> set[bytes]:
    """Watch every encryption of the package; return the keys used so far."""
    monkeypatch.setattr("lanthorn.protected._crypto.AESGCM", CountingGCM)
    CountingGCM.used.clear()
    return CountingGCM.used
