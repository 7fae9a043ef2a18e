"""The client against peers that hold the pinned key and misbehave: one of our errors each, and no key."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lanthorn.attestation.evidence import Evidence
from lanthorn.broker.identity import create_identity, identity_pin, server_context
from lanthorn.errors import BrokerError, BrokerUnreachableError, KeyReleaseDeniedError
from lanthorn.release import jwe
from lanthorn.release.client import ReleaseClient
from lanthorn.release.endpoint import BrokerEndpoint
from lanthorn.release.jwk import parse_public_jwk
from lanthorn.release.messages import Attestation, problem, token_response
from lanthorn.release.strict_json import b64url_encode

RUN = "ab" * 16
TOKEN = token_response(f"e30.{b64url_encode(json.dumps({'run_id': RUN}).encode())}.c2ln")
COOKIE = "Set-Cookie: kbs-session-id=0123456789abcdef; Path=/kbs/v0; HttpOnly\r\n"
CHALLENGE = b'{"nonce":"n","extra-params":""}'


class Attester:
    tee, simulated = "tdx", True

    def bind(self, lock_digest: bytes) -> None:
        raise AssertionError("a client binds nothing")

    def attest(self, report_data: bytes) -> Evidence:
        return Evidence("tdx", report_data)


def answer(body: bytes, status: str = "200 OK", extra: str = "", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\n{extra}Content-Length: {size}\r\n\r\n".encode() + body


class Last(bytes):
    """An answer after which the server hangs up."""


Script = Callable[[bytes], bytes | None]


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("identity") / "identity.pem"
    create_identity(path, now=datetime.now(UTC))
    return path


@pytest.fixture
def client(identity: Path) -> Iterator[Callable[[list[Script]], ReleaseClient]]:
    """Make a client of a TLS server that answers one request after another from a script, then hangs up."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        threads, made = [], []

        def make(script: list[Script]) -> ReleaseClient:
            thread = threading.Thread(target=_serve, args=(listener, server_context(identity), script))
            thread.start()
            threads.append(thread)
            url = f"https://127.0.0.1:{listener.getsockname()[1]}"
            endpoint = BrokerEndpoint("home", url, (identity_pin(identity),))
            made.append(ReleaseClient(endpoint, Attester(), timeout=5))
            return made[-1]

        yield make
        for each in made:
            each.close()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


def _serve(listener: socket.socket, context: ssl.SSLContext, script: list[Script]) -> None:
    while script:
        try:
            plain, _ = listener.accept()
        except OSError:
            return
        with suppress(OSError), plain, context.wrap_socket(plain, server_side=True) as secured:
            while script:
                request = _request(secured)
                if not request:
                    break
                reply = script.pop(0)(request)
                if reply is None:
                    break
                secured.sendall(reply)
                if isinstance(reply, Last):
                    break


def _request(secured: ssl.SSLSocket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = secured.recv(65536)
        if not piece:
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    size = next((int(line.split(":")[1]) for line in lines if line.startswith("content-length:")), 0)
    while len(body) < size:
        body += secured.recv(65536)
    return head + b"\r\n\r\n" + body


@contextmanager
def _raises(kind: type[BrokerError], words: str) -> Iterator[None]:
    with pytest.raises(BrokerError, match=words) as caught:
        yield
    assert type(caught.value) is kind


def auth(_: bytes) -> bytes:
    return answer(CHALLENGE, extra=COOKIE)


def attest(_: bytes) -> bytes:
    return answer(TOKEN)


def test_an_honest_script_is_served(client: Callable[[list[Script]], ReleaseClient]) -> None:
    seen: list[Attestation] = []

    def remember(request: bytes) -> bytes:
        assert b"Cookie: kbs-session-id=0123456789abcdef\r\n" in request
        seen.append(Attestation.parse(request.partition(b"\r\n\r\n")[2]))
        return answer(TOKEN)

    def release(request: bytes) -> bytes:
        assert request.startswith(b"GET /kbs/v0/resource/lanthorn/key/model HTTP/1.1\r\n")
        return answer(jwe.encrypt(bytes(16), parse_public_jwk(seen[0].tee_pubkey)))

    one = client([auth, remember, release])
    assert one.attest() == RUN
    assert one.fetch_key("model").raw == bytes(16)


def test_each_attestation_has_a_key_pair_of_its_own(client: Callable[[list[Script]], ReleaseClient]) -> None:
    keys = []

    def remember(request: bytes) -> bytes:
        keys.append(Attestation.parse(request.partition(b"\r\n\r\n")[2]).tee_pubkey["x"])
        return answer(TOKEN)

    one = client([auth, remember, auth, remember])
    one.attest()
    one.attest()
    assert len(set(keys)) == 2


BAD_ATTEST: list[tuple[str, list[Script], type[BrokerError], str]] = [
    ("no cookie", [lambda _: answer(CHALLENGE)], BrokerError, "opened no session"),
    (
        "odd cookie",
        [lambda _: answer(CHALLENGE, extra="Set-Cookie: kbs-session-id=a b\r\n")],
        BrokerError,
        "opened no session",
    ),
    ("no nonce", [lambda _: answer(b"{}", extra=COOKIE)], BrokerError, "broke the protocol"),
    ("half a character", [lambda _: answer(b'{"nonce":"\\ud800"}', extra=COOKIE)], BrokerError, "protocol"),
    ("huge challenge", [lambda _: answer(b" " * 20_000, extra=COOKIE)], BrokerError, "more than the limit"),
    ("not HTTP", [lambda _: b"SSH-2.0-x\r\n\r\n"], BrokerError, "does not speak HTTP"),
    (
        "endless header",
        [lambda _: b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000],
        BrokerError,
        "does not speak HTTP",
    ),
    ("redirect", [lambda _: answer(b"", "302 Found", "Location: /x\r\n")], BrokerError, "status 302"),
    ("hangs up", [lambda _: None], BrokerUnreachableError, "unreachable"),
    (
        "cut short",
        [auth, lambda _: Last(answer(TOKEN, length=5000))],
        BrokerUnreachableError,
        "unreachable",
    ),
    ("busy", [lambda _: answer(b"", "503 Busy")], BrokerUnreachableError, "cannot serve"),
    ("internal error", [lambda _: answer(b"stack trace", "500 Oh")], BrokerError, "status 500, unexplained"),
    ("html refusal", [lambda _: answer(b"<html>", "401 No")], KeyReleaseDeniedError, "unexplained"),
    (
        "refusal",
        [auth, lambda _: answer(problem("AttestationError", "evidence-refused"), "401 No")],
        KeyReleaseDeniedError,
        "broker home refused the attestation: evidence-refused",
    ),
    ("no token", [auth, lambda _: answer(b"{}")], BrokerError, "broke the protocol"),
    (
        "token without run",
        [auth, lambda _: answer(token_response("e30.e30.e30"))],
        BrokerError,
        "no run id",
    ),
]


@pytest.mark.parametrize(
    ("script", "kind", "words"), [case[1:] for case in BAD_ATTEST], ids=[case[0] for case in BAD_ATTEST]
)
def test_a_bad_peer_gives_our_error(
    client: Callable[[list[Script]], ReleaseClient],
    script: list[Script],
    kind: type[BrokerError],
    words: str,
) -> None:
    with _raises(kind, words):
        client(list(script)).attest()


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (answer(b"{}"), BrokerError, "broke the protocol"),
        (answer(b"0" * 16), BrokerError, "broke the protocol"),
        (answer(b" " * 10_000), BrokerError, "more than the limit"),
        (
            answer(problem("PolicyDeny", "key-not-granted"), "401 No"),
            KeyReleaseDeniedError,
            "key-not-granted",
        ),
        (
            answer(b'{"type":"x/PolicyDeny","detail":"Access denied by policy"}', "401 No"),
            KeyReleaseDeniedError,
            "PolicyDeny",
        ),
    ],
)
def test_a_bad_answer_gives_no_key(
    client: Callable[[list[Script]], ReleaseClient], reply: bytes, kind: type[BrokerError], words: str
) -> None:
    one = client([auth, attest, lambda _: reply])
    one.attest()
    with _raises(kind, words):
        one.fetch_key("model")


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_a_key_of_another_size_is_refused(client: Callable[[list[Script]], ReleaseClient], size: int) -> None:
    seen: list[Attestation] = []

    def remember(request: bytes) -> bytes:
        seen.append(Attestation.parse(request.partition(b"\r\n\r\n")[2]))
        return answer(TOKEN)

    one = client(
        [auth, remember, lambda _: answer(jwe.encrypt(bytes(size), parse_public_jwk(seen[0].tee_pubkey)))]
    )
    one.attest()
    with _raises(BrokerError, f"expected 16 bytes, got {size}"):
        one.fetch_key("model")


def test_a_connection_closed_while_idle_is_made_anew_for_a_key(
    client: Callable[[list[Script]], ReleaseClient],
) -> None:
    refusal = answer(problem("PolicyDeny", "key-not-granted"), "401 No")
    one = client([auth, attest, lambda _: None, lambda _: refusal])
    one.attest()
    with _raises(KeyReleaseDeniedError, "key-not-granted"):
        one.fetch_key("model")


def test_an_attestation_is_never_sent_twice(client: Callable[[list[Script]], ReleaseClient]) -> None:
    script: list[Script] = [auth, lambda _: None, attest]
    one = client(script)
    with _raises(BrokerUnreachableError, "unreachable"):
        one.attest()
    assert len(script) == 1


@pytest.mark.parametrize("name", ["", "../x", "a/b", "A", "model\r\nX: y", "a" * 65])
def test_what_is_no_key_name_is_never_sent(
    client: Callable[[list[Script]], ReleaseClient], name: str
) -> None:
    script: list[Script] = [auth, attest, attest]
    one = client(script)
    one.attest()
    with _raises(BrokerError, "not a key name"):
        one.fetch_run_key(name)
    assert len(script) == 1


def test_a_key_before_attestation_or_after_closing_is_refused(
    client: Callable[[list[Script]], ReleaseClient],
) -> None:
    one = client([auth, attest])
    with _raises(BrokerError, "before attestation"):
        one.fetch_key("model")
    one.attest()
    one.close()
    with _raises(BrokerError, "before attestation"):
        one.fetch_key("model")
