"""The KBS attestation protocol 0.4.0: the messages, their limits, the errors.

Both sides share this module. It parses and builds; it decides nothing and checks no evidence.
Reference: Confidential Containers, Trustee, "KBS Attestation Protocol" and `kbs-types` 0.18.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import Any

from lanthorn.errors import FormatError
from lanthorn.release.strict_json import member_object, member_string, parse_object, require_members

PROTOCOL_VERSION = "0.4.0"
PREFIX = "/kbs/v0"
SESSION_COOKIE = "kbs-session-id"
ERROR_TYPE_PREFIX = "https://github.com/confidential-containers/kbs/errors"
PROBLEM_CONTENT_TYPE = "application/problem+json"

MAX_REQUEST = 4 * 1024
MAX_CHALLENGE = 16 * 1024
MAX_ATTESTATION = 256 * 1024
"""A TDX quote is 5 to 16 KiB in base64, an event log up to 100 KiB."""
MAX_TOKEN_RESPONSE = 128 * 1024
MAX_PROBLEM = 4 * 1024
MAX_NONCE = 512
MAX_QUOTE = 64 * 1024
MAX_SHORT = 128
SESSION_SECONDS = 300

_RUN_ID = re.compile(r"[0-9a-f]{32}")
_SESSION_ID = re.compile(r"[0-9A-Za-z_-]{16,128}")
_CODE = re.compile(r"[a-z][a-z-]{0,63}")
_ERROR_NAME = re.compile(r"[A-Za-z]{1,64}")
KEY_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

KEY_TYPE = "key"
RUN_KEY_TYPE = "run-key"


@dataclass(frozen=True)
class Request:
    """The first message: which protocol, which TEE. `extra-params` is accepted and means nothing here."""

    version: str
    tee: str

    def to_bytes(self) -> bytes:
        return _encode({"version": self.version, "tee": self.tee, "extra-params": {}})

    @classmethod
    def parse(cls, data: bytes) -> Request:
        value = parse_object(data, limit=MAX_REQUEST, what="the request")
        require_members(
            value, "the request", required=frozenset({"version", "tee"}), optional=frozenset({"extra-params"})
        )
        return cls(
            member_string(value, "version", "the request", limit=MAX_SHORT),
            member_string(value, "tee", "the request", limit=MAX_SHORT),
        )


@dataclass(frozen=True)
class Challenge:
    """The answer to a request: a nonce that evidence has to carry."""

    nonce: str

    def to_bytes(self) -> bytes:
        return _encode({"nonce": self.nonce, "extra-params": {}})

    @classmethod
    def parse(cls, data: bytes) -> Challenge:
        """Parse a challenge. One that selects a hash other than SHA-384 is refused: no other binds here."""
        value = parse_object(data, limit=MAX_CHALLENGE, what="the challenge")
        require_members(
            value, "the challenge", required=frozenset({"nonce"}), optional=frozenset({"extra-params"})
        )
        extra = value.get("extra-params")
        if (
            isinstance(extra, dict)
            and str(extra.get("selected-hash-algorithm", "sha384")).lower() != "sha384"
        ):
            raise FormatError("the challenge selects a hash algorithm other than sha384")
        nonce = member_string(value, "nonce", "the challenge", limit=MAX_NONCE)
        if not nonce:
            raise FormatError("the challenge has an empty nonce")
        return cls(nonce)


@dataclass(frozen=True)
class Attestation:
    """Evidence bound to a nonce and a public key.

    Parsed is not verified: nothing here vouches for `quote`.
    """

    nonce: str
    tee_pubkey: dict[str, Any]
    quote: bytes
    additional_evidence: str = ""
    has_init_data: bool = False

    def to_bytes(self) -> bytes:
        evidence: dict[str, Any] = {"quote": base64.b64encode(self.quote).decode("ascii")}
        return _encode(
            {
                "runtime-data": {"nonce": self.nonce, "tee-pubkey": self.tee_pubkey},
                "tee-evidence": {
                    "primary_evidence": evidence,
                    "additional_evidence": self.additional_evidence,
                },
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> Attestation:
        """Parse an attestation of SGX or TDX: both carry `quote`; the `cc_eventlog` of TDX is not used."""
        value = parse_object(data, limit=MAX_ATTESTATION, what="the attestation")
        require_members(
            value,
            "the attestation",
            required=frozenset({"runtime-data", "tee-evidence"}),
            optional=frozenset({"init-data"}),
        )
        runtime = member_object(value, "runtime-data", "the attestation")
        require_members(runtime, "runtime-data", required=frozenset({"nonce", "tee-pubkey"}))
        evidence = member_object(value, "tee-evidence", "the attestation")
        require_members(
            evidence, "tee-evidence", required=frozenset({"primary_evidence", "additional_evidence"})
        )
        return cls(
            nonce=member_string(runtime, "nonce", "runtime-data", limit=MAX_NONCE),
            tee_pubkey=member_object(runtime, "tee-pubkey", "runtime-data"),
            quote=_quote(member_object(evidence, "primary_evidence", "tee-evidence")),
            additional_evidence=member_string(
                evidence, "additional_evidence", "tee-evidence", limit=MAX_ATTESTATION
            ),
            has_init_data=value.get("init-data") is not None,
        )

    def names_devices(self) -> bool:
        """Say whether the evidence claims further devices; some clients send an empty mapping for none."""
        return self.additional_evidence not in ("", "{}")


def _quote(evidence: dict[str, Any]) -> bytes:
    what = "primary_evidence"
    require_members(evidence, what, required=frozenset({"quote"}), optional=frozenset({"cc_eventlog"}))
    text = member_string(evidence, "quote", what, limit=MAX_QUOTE)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError("the quote is not base64") from error


@dataclass(frozen=True)
class Resource:
    """A path `lanthorn/<kind>/<name>`: the owner's wrap key, or the output key of this run."""

    kind: str
    name: str

    @property
    def path(self) -> str:
        return f"{PREFIX}/resource/lanthorn/{self.kind}/{self.name}"

    @classmethod
    def parse(cls, path: str) -> Resource:
        """Parse what follows `/resource/`.

        Raises `FormatError` for anything but two kinds and a key's name.
        """
        repository, _, rest = path.partition("/")
        kind, _, name = rest.partition("/")
        if repository != "lanthorn" or kind not in (KEY_TYPE, RUN_KEY_TYPE) or not KEY_NAME.fullmatch(name):
            raise FormatError("not a resource path: expected lanthorn/key/NAME or lanthorn/run-key/NAME")
        return cls(kind, name)


def token_response(token: str) -> bytes:
    return _encode({"token": token})


def run_id_of(data: bytes) -> tuple[str, str]:
    """Return the token and its claim `run_id` from the answer to an attestation.

    The token's signature is not checked: it came over a connection pinned to the broker that signed it.
    """
    from lanthorn.release.strict_json import b64url_decode

    value = parse_object(data, limit=MAX_TOKEN_RESPONSE, what="the token response")
    token = member_string(value, "token", "the token response", limit=MAX_TOKEN_RESPONSE)
    parts = token.split(".")
    if len(parts) != 3:
        raise FormatError("the token is not a JWT")
    claims = parse_object(b64url_decode(parts[1], "the token"), limit=MAX_TOKEN_RESPONSE, what="the token")
    run_id = claims.get("run_id")
    if not isinstance(run_id, str) or not _RUN_ID.fullmatch(run_id):
        raise FormatError("the token has no run id")
    return token, run_id


def is_session_id(text: str) -> bool:
    return _SESSION_ID.fullmatch(text) is not None


def problem(error_name: str, code: str) -> bytes:
    """Build an RFC 7807 body: the error's name as a type, a stable code as the detail, nothing else."""
    return _encode({"type": f"{ERROR_TYPE_PREFIX}/{error_name}", "detail": code})


def problem_code(data: bytes) -> str:
    """Return the code of an RFC 7807 body, else the error's name, else "unexplained": never foreign prose."""
    try:
        value = parse_object(data, limit=MAX_PROBLEM, what="the refusal")
    except FormatError:
        return "unexplained"
    detail, kind = str(value.get("detail")), str(value.get("type")).rpartition("/")[2]
    if _CODE.fullmatch(detail):
        return detail
    return kind if _ERROR_NAME.fullmatch(kind) else "unexplained"


def _encode(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("utf-8")
