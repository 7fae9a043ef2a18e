"""Put a broker together from its folder and serve it."""

from __future__ import annotations

import time
from collections.abc import Callable

from lanthorn.broker.app import create_app
from lanthorn.broker.home import Address, BrokerHome, Settings, wall_clock
from lanthorn.broker.policies import PolicyJudge
from lanthorn.broker.server import serve
from lanthorn.broker.service import KeyService
from lanthorn.broker.sessions import Sessions


def run_broker(
    home: BrokerHome, settings: Settings, address: Address, *, ready: Callable[[Address], None]
) -> None:
    """Serve until a signal asks to stop. Raises `StorageError` where a file or the address cannot be used."""
    with home.open_store() as store:
        service = KeyService(
            store,
            Sessions(clock=time.monotonic),
            home.tokens(),
            PolicyJudge(),
            allow_simulated=settings.insecure_allow_simulated,
            clock=wall_clock,
        )
        serve(create_app(service), address, home.identity_file, ready=ready)
