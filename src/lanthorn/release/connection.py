"""One kept-alive TLS 1.3 connection to a pinned broker.

The certificate's key is compared with the pins before a byte of a request is sent. Chains, names and dates of
the certificate are not looked at: the pin is the whole identity.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lanthorn import __version__
from lanthorn.errors import BrokerError, BrokerUnreachableError, FormatError
from lanthorn.release import pin
from lanthorn.release.endpoint import BrokerEndpoint


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    cookies: tuple[str, ...]


class PinnedConnection:
    """HTTP/1.1 to one broker. Not for several threads at once. Raises only `BrokerError` and its children."""

    def __init__(self, endpoint: BrokerEndpoint, *, timeout: float) -> None:
        self._endpoint = endpoint
        self._timeout = timeout
        self._http: http.client.HTTPConnection | None = None

    def exchange(
        self, method: str, path: str, *, body: bytes | None = None, headers: Mapping[str, str], limit: int
    ) -> Answer:
        """Send one request and return the whole answer, of at most `limit` bytes.

        A GET on a connection that the broker has closed while idle is sent once more, on a new pinned
        connection.
        """
        reused = self._http is not None
        try:
            return self._exchange_once(method, path, body, headers, limit)
        except BrokerUnreachableError:
            if not reused or method != "GET":
                raise
            return self._exchange_once(method, path, body, headers, limit)

    def _exchange_once(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], limit: int
    ) -> Answer:
        with self._edge():
            connection = self._open()
            connection.request(method, path, body=body, headers={**_HEADERS, **headers})
            response = connection.getresponse()
            data = response.read(limit + 1)
            if len(data) > limit:
                raise BrokerError(f"{self._where} sent more than the limit of {limit} bytes")
            if response.length:
                # A sized read returns what there is and says nothing of what is missing.
                raise http.client.IncompleteRead(data, response.length)
            cookies = tuple(response.headers.get_all("Set-Cookie") or ())
            if response.will_close:
                self.close()
            return Answer(response.status, data, cookies)

    def close(self) -> None:
        if self._http is not None:
            self._http.close()
            self._http = None

    @property
    def _where(self) -> str:
        return f"broker {self._endpoint.name} ({self._endpoint.url})"

    def _open(self) -> http.client.HTTPConnection:
        if self._http is None:
            connection = http.client.HTTPConnection(self._endpoint.host, self._endpoint.port)
            # Never let http.client connect by itself: it would, in the clear and without the pin.
            connection.auto_open = 0
            connection.sock = self._connect()
            self._http = connection
        return self._http

    def _connect(self) -> ssl.SSLSocket:
        address = (self._endpoint.host, self._endpoint.port)
        plain = socket.create_connection(address, timeout=self._timeout)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            secured = _context().wrap_socket(plain, server_hostname=self._endpoint.host)
        except BaseException:
            plain.close()
            raise
        try:
            self._check_pin(secured)
        except BaseException:
            secured.close()
            raise
        return secured

    def _check_pin(self, secured: ssl.SSLSocket) -> None:
        certificate = secured.getpeercert(binary_form=True)
        if not certificate:
            raise BrokerError(f"{self._where} showed no certificate")
        found = pin.pin_of_spki(pin.spki_of_certificate(certificate))
        if not pin.matches(found, self._endpoint.spki):
            expected = " or ".join(self._endpoint.spki)
            raise BrokerError(
                f"{self._where} has another certificate key than is pinned: expected {expected}, got {found}"
            )

    @contextlib.contextmanager
    def _edge(self) -> Iterator[None]:
        """Turn what sockets, TLS and HTTP raise into our errors; a failed connection is not used again."""
        try:
            yield
        except BrokerError:
            self.close()
            raise
        except FormatError as error:
            self.close()
            raise BrokerError(f"{self._where}: {error.message}") from error
        except ssl.SSLError as error:
            self.close()
            raise self._tls_error(error) from error
        # RemoteDisconnected is an OSError too: somebody hung up, which is worth a retry
        except (OSError, http.client.IncompleteRead) as error:
            self.close()
            raise BrokerUnreachableError(
                f"{self._where} is unreachable: {_why(error)}", hint=_HINT
            ) from error
        # UnicodeError: a host name that IDNA refuses
        except (http.client.HTTPException, UnicodeError) as error:
            self.close()
            raise BrokerError(f"{self._where} does not speak HTTP: {type(error).__name__}") from error

    def _tls_error(self, error: ssl.SSLError) -> BrokerError:
        reason = (error.reason or type(error).__name__).lower().replace("_", " ")
        if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return BrokerUnreachableError(f"{self._where} is unreachable: {reason}", hint=_HINT)
        return BrokerError(f"{self._where} does not speak TLS 1.3 as it should: {reason}")


_HEADERS = {"User-Agent": f"lanthorn/{__version__}", "Accept": "application/json"}
_HINT = "is it running? `lanthorn broker serve`"


def _why(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) else None
    return (text or type(error).__name__).lower()


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # Replaced by the pin, which is stricter than any chain.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
