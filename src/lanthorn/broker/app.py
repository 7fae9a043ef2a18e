"""HTTP around the key service: sizes, paths, methods, cookies, RFC 7807. No decision is made here.

A plain ASGI application: the protocol has three paths, and each must mean exactly one thing, so nothing
routes, redirects, decodes or answers HEAD on its own.
"""

from __future__ import annotations

import asyncio
import logging

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from lanthorn.broker.refusal import RefusedError
from lanthorn.broker.service import KeyService
from lanthorn.errors import StorageError
from lanthorn.release.messages import (
    MAX_ATTESTATION,
    MAX_REQUEST,
    MAX_TOKEN_RESPONSE,
    PREFIX,
    PROBLEM_CONTENT_TYPE,
    SESSION_COOKIE,
    SESSION_SECONDS,
    problem,
)
from lanthorn.release.reasons import Reason

logger = logging.getLogger("lanthorn")

BODY_SECONDS = 10.0
"""A body of 256 KiB takes longer than this only from a client that means to hold a slot."""

_BEARER = "Bearer "
_AUTH, _ATTEST, _RESOURCE = f"{PREFIX}/auth", f"{PREFIX}/attest", f"{PREFIX}/resource/"

_ERRORS: dict[Reason, tuple[int, str]] = {
    Reason.PATH_INVALID: (404, "InvalidRequestPath"),
    Reason.METHOD_NOT_ALLOWED: (405, "InvalidRequestPath"),
    Reason.MESSAGE_TOO_LARGE: (413, "SerdeError"),
    Reason.SESSION_UNKNOWN: (401, "TokenNotFound"),
    Reason.SESSION_EXPIRED: (401, "TokenNotFound"),
    Reason.SESSION_NOT_ATTESTED: (401, "TokenNotFound"),
    Reason.TOKEN_INVALID: (401, "TokenVerifierError"),
    Reason.KEY_NOT_GRANTED: (401, "PolicyDeny"),
    Reason.ACCESS_NOT_GRANTED: (401, "PolicyDeny"),
    Reason.KEY_USED_IN_SIMULATION: (401, "PolicyDeny"),
    Reason.BUSY: (503, "Busy"),
    Reason.INTERNAL: (500, "InternalError"),
}
"""Status and error name by reason; the rest are 401 AttestationError, as Trustee answers them."""


def create_app(service: KeyService) -> ASGIApp:
    """Return the ASGI application. Unexpected exceptions are logged and answered without any detail."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"not served: {scope['type']}")
        response = await _guarded(service, Request(scope, receive))
        await response(scope, receive, send)

    return app


async def _guarded(service: KeyService, request: Request) -> Response:
    try:
        return await _dispatch(service, request)
    except RefusedError as refusal:
        logger.info("refused %s: %s", refusal.reason.value, refusal.message)
        return _refusal(refusal.reason)
    except ClientDisconnect:
        return _refusal(Reason.MESSAGE_MALFORMED)
    except StorageError as error:
        # A full disk or a locked database stops releases; the client may try again.
        logger.error("%s", error.message)
        return _refusal(Reason.BUSY)
    except Exception:
        logger.exception("unexpected error")
        return _refusal(Reason.INTERNAL)


async def _dispatch(service: KeyService, request: Request) -> Response:
    # The path as it was sent: decoded, one resource would have several names. No name of ours has a "%".
    path = request.scope["raw_path"].decode("latin-1")
    if request.scope["query_string"]:
        raise RefusedError(Reason.PATH_INVALID, "the path has a query")
    if path == _AUTH:
        return await _auth(service, request)
    if path == _ATTEST:
        return await _attest(service, request)
    if path.startswith(_RESOURCE):
        return await _resource(service, request, path.removeprefix(_RESOURCE))
    raise RefusedError(Reason.PATH_INVALID, "no such path")


async def _auth(service: KeyService, request: Request) -> Response:
    _require(request, "POST")
    session_id, challenge = service.auth(await _body(request, MAX_REQUEST))
    return _json(challenge, session_id)


async def _attest(service: KeyService, request: Request) -> Response:
    _require(request, "POST")
    body = await _body(request, MAX_ATTESTATION)
    session_id = request.cookies.get(SESSION_COOKIE, "")
    return _json(await run_in_threadpool(service.attest, session_id, body), session_id)


async def _resource(service: KeyService, request: Request, path: str) -> Response:
    _require(request, "GET")
    session_id = request.cookies.get(SESSION_COOKIE, "")
    authorization = request.headers.get("authorization", "")
    if authorization:
        session_id = _bearer_session(service, authorization, session_id)
    return _json(await run_in_threadpool(service.resource, session_id, path))


def _bearer_session(service: KeyService, authorization: str, session_id: str) -> str:
    """Return the session of a bearer token; one sent beside the cookie of another session is refused."""
    token = authorization.removeprefix(_BEARER)
    if token == authorization or len(token) > MAX_TOKEN_RESPONSE:
        raise RefusedError(Reason.TOKEN_INVALID, "not a bearer token")
    named = service.session_of_token(token)
    if session_id and session_id != named:
        raise RefusedError(Reason.TOKEN_INVALID, "cookie and token are of different sessions")
    return named


def _require(request: Request, method: str) -> None:
    if request.method != method:
        raise RefusedError(Reason.METHOD_NOT_ALLOWED, f"expected {method}, got {request.method[:16]}")


async def _body(request: Request, limit: int) -> bytes:
    """Read a body of at most `limit` bytes, in time; stop reading where it goes over."""
    try:
        return await asyncio.wait_for(_read(request, limit), BODY_SECONDS)
    except TimeoutError as error:
        raise RefusedError(Reason.MESSAGE_MALFORMED, f"no whole body in {BODY_SECONDS:g} s") from error


async def _read(request: Request, limit: int) -> bytes:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > limit:
            raise RefusedError(Reason.MESSAGE_TOO_LARGE, f"the body is above the limit of {limit} bytes")
    return bytes(data)


def _json(body: bytes, session_id: str = "") -> Response:
    response = Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})
    if session_id:
        response.set_cookie(
            SESSION_COOKIE,
            session_id,
            max_age=SESSION_SECONDS,
            path=PREFIX,
            secure=True,
            httponly=True,
            samesite="strict",
        )
    return response


def _refusal(reason: Reason) -> Response:
    status, name = _ERRORS.get(reason, (401, "AttestationError"))
    # What was not read of a body must not be taken for the next request.
    headers = {"Cache-Control": "no-store", "Connection": "close"}
    return Response(problem(name, reason.value), status, headers, PROBLEM_CONTENT_TYPE)
