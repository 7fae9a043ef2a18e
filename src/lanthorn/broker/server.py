"""Serve the key service over TLS 1.3 with uvicorn, until SIGTERM or SIGINT, finishing what is in progress."""

from __future__ import annotations

import signal
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from lanthorn.broker.home import Address
from lanthorn.broker.identity import server_context
from lanthorn.errors import StorageError

KEEP_ALIVE_SECONDS = 75
SHUTDOWN_SECONDS = 3
"""A request takes some 20 ms; what remains open after that is a client that keeps its connection."""
MAX_CONNECTIONS = 1024
MAX_HEADERS = 32 * 1024
BACKLOG = 512


class _Server(uvicorn.Server):
    """Says when the sockets are really being listened on."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()


def serve(app: ASGIApp, address: Address, identity: Path, *, ready: Callable[[Address], None]) -> None:
    """Serve until a signal asks to stop. `ready` is called with the address in use (port 0 picks one).

    Raises `StorageError` when the address cannot be listened on.
    """
    context = server_context(identity)
    listener, bound = _listen(address)
    with listener:
        server = _Server(_config(app, context), lambda: ready(bound))
        # uvicorn stops gracefully on these and raises them again afterwards; by then the work is done.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        server.run(sockets=[listener])


def _listen(address: Address) -> tuple[socket.socket, Address]:
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(target)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise StorageError(f"cannot listen on {address}: {reason}") from error
    return listener, Address(address.host, listener.getsockname()[1])


def _config(app: ASGIApp, context: ssl.SSLContext) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        ssl_context_factory=lambda _config, _default: context,
        http="h11",
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        h11_max_incomplete_event_size=MAX_HEADERS,
    )
