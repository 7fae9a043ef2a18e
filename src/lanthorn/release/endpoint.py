"""One broker as a lock names it: where it is said to be, and the keys it must prove to have."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from lanthorn.errors import UsageError
from lanthorn.release.pin import MAX_PINS, PIN

DEFAULT_PORT = 443


@dataclass(frozen=True)
class BrokerEndpoint:
    """A broker: `url` is only a hint where to knock, `spki` (current, next) is its identity."""

    name: str
    url: str
    spki: tuple[str, ...]
    host: str = field(init=False, repr=False)
    port: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        host, port = _host_and_port(self.name, self.url)
        object.__setattr__(self, "host", host)
        object.__setattr__(self, "port", port)
        if not 1 <= len(self.spki) <= MAX_PINS:
            raise UsageError(f"broker {self.name}: expected 1 or {MAX_PINS} spki pins, got {len(self.spki)}")
        for pin in self.spki:
            if not PIN.fullmatch(pin):
                raise UsageError(f"broker {self.name}: not a pin (sha256:<64 hex digits>): {pin[:80]}")


def _host_and_port(name: str, url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or DEFAULT_PORT
    except ValueError as error:
        raise UsageError(f"broker {name}: not a URL: {url[:200]}") from error
    extras = (parts.username, parts.password, parts.query, parts.fragment)
    if parts.scheme != "https" or not host or any(extras) or parts.path not in ("", "/"):
        raise UsageError(f"broker {name}: expected https://HOST[:PORT], got {url[:200]}")
    return host, port
