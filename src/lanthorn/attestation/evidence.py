"""Evidence, and its binding to a lock and to a key: what attester and verifier share.

Imported by every run, so it stays small; what a verifier makes of evidence is in `claims`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from lanthorn.canonical import canonical_json
from lanthorn.errors import UsageError

REPORT_DATA_SIZE = 64
REGISTER_SIZE = 48
LOCK_DIGEST_SIZE = 32
LOCK_EVENT_LABEL = b"lanthorn-lock-v1\0"


@dataclass(frozen=True)
class Evidence:
    """What a TEE says of itself, unverified: nothing may act on it."""

    tee: str
    quote: bytes


def kbs_report_data(nonce: str, tee_pubkey: Mapping[str, str], additional_evidence: str = "") -> bytes:
    """Return the 64 bytes that bind evidence to a broker's nonce and to the attested key pair.

    SHA-384 of the canonical JSON of the three members, padded with zeros (KBS attestation protocol 0.4.0).
    `additional_evidence` is the JSON text exactly as sent, empty where there are no further devices.
    Raises `FormatError` for text that has no canonical encoding.
    """
    runtime_data = {
        "nonce": nonce,
        "tee-pubkey": dict(tee_pubkey),
        "additional-evidence": additional_evidence,
    }
    return hashlib.sha384(canonical_json(runtime_data)).digest().ljust(REPORT_DATA_SIZE, b"\0")


def lock_event_digest(lock_digest: bytes) -> bytes:
    """Return the digest of the event that names a lock. Raises `UsageError` unless the lock has 32 bytes."""
    if len(lock_digest) != LOCK_DIGEST_SIZE:
        raise UsageError(f"lock digest: expected {LOCK_DIGEST_SIZE} bytes, got {len(lock_digest)}")
    return hashlib.sha384(LOCK_EVENT_LABEL + lock_digest).digest()


def extend(register: bytes, digest: bytes) -> bytes:
    """Extend a measurement register as TDX does: SHA-384(register || digest), both 48 bytes."""
    for name, value in (("register", register), ("event digest", digest)):
        if len(value) != REGISTER_SIZE:
            raise UsageError(f"{name}: expected {REGISTER_SIZE} bytes, got {len(value)}")
    return hashlib.sha384(register + digest).digest()


def rtmr3_for_lock(lock_digest: bytes) -> bytes:
    """Return the RTMR3 of a TD that extended exactly one lock event since its boot, and nothing else."""
    return extend(bytes(REGISTER_SIZE), lock_event_digest(lock_digest))
