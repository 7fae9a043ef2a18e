"""Why a broker says no: stable codes on the wire, one line for the person who sees one.

The code is all a client learns; what was expected and what was found is in the owner's log.
"""

from __future__ import annotations

from enum import Enum


class Reason(Enum):
    """A refusal: its value is the code in `detail` of the RFC 7807 body. Codes never change their meaning."""

    MESSAGE_MALFORMED = "message-malformed"
    MESSAGE_TOO_LARGE = "message-too-large"
    VERSION_UNSUPPORTED = "version-unsupported"
    TEE_UNSUPPORTED = "tee-unsupported"
    KEY_UNSUPPORTED = "key-unsupported"
    INIT_DATA_UNSUPPORTED = "init-data-unsupported"
    DEVICES_UNSUPPORTED = "devices-unsupported"
    SESSION_UNKNOWN = "session-unknown"
    SESSION_EXPIRED = "session-expired"
    SESSION_NOT_ATTESTED = "session-not-attested"
    NONCE_MISMATCH = "nonce-mismatch"
    NONCE_USED = "nonce-used"
    TOKEN_INVALID = "token-invalid"  # noqa: S105 - a code, not a secret
    EVIDENCE_REFUSED = "evidence-refused"
    NO_POLICY = "no-policy"
    SIMULATED_REFUSED = "simulated-refused"
    KEY_NOT_GRANTED = "key-not-granted"
    ACCESS_NOT_GRANTED = "access-not-granted"
    KEY_USED_IN_SIMULATION = "key-used-in-simulation"
    PATH_INVALID = "path-invalid"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    BUSY = "busy"
    INTERNAL = "internal"


HINTS: dict[str, str] = {
    Reason.EVIDENCE_REFUSED.value: "the platform or the job is not what the key's owner allowed: the owner's "
    "`lanthorn broker log` has every check",
    Reason.NO_POLICY.value: "the key's owner has allowed no job yet: `lanthorn broker allow LOCK`",
    Reason.SIMULATED_REFUSED.value: "this broker releases nothing to a simulated platform",
    Reason.KEY_NOT_GRANTED.value: "the key's owner has not allowed this key for this lock, or has revoked it",
    Reason.ACCESS_NOT_GRANTED.value: "the lock does not give the job this access to this key",
    Reason.KEY_USED_IN_SIMULATION.value: "the key was once released to a simulated platform: make a new one "
    "and encrypt again",
    Reason.SESSION_EXPIRED.value: "run it again",
    Reason.SESSION_UNKNOWN.value: "run it again; the broker may have been restarted",
    Reason.VERSION_UNSUPPORTED.value: "client and broker speak different versions of the protocol",
}
