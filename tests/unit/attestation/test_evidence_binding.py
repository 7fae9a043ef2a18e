"""The bytes that bind evidence to a nonce, a key and a lock: fixed by vectors made without our code."""

from __future__ import annotations

import hashlib

import pytest

from lanthorn.attestation.evidence import extend, kbs_report_data, lock_event_digest, rtmr3_for_lock
from lanthorn.errors import UsageError

KEY = {"kty": "EC", "crv": "P-256", "alg": "ECDH-ES+A256KW", "x": "eHg", "y": "eXk"}

# The canonical text written out by hand: members sorted by name, no spaces.
CANONICAL = (
    b'{"additional-evidence":"","nonce":"bm9uY2U=","tee-pubkey":'
    b'{"alg":"ECDH-ES+A256KW","crv":"P-256","kty":"EC","x":"eHg","y":"eXk"}}'
)
# Made with `openssl dgst -sha384`.
REPORT_DATA_HEX = (
    "0bb37013e6dbc384d5ff73e63dce646cdc9423f9ca562d5aacb2a0e7240c9b77e935ace4f2427285dcf97711e00d360d"
    "00000000000000000000000000000000"
)
EVENT_HEX = "b2c3a807532cabc181da8fd868265465442099a4ec6bcd0bc1747bdf05cdd4539df6651ae545c9d1d3c700f39b41e5e6"
RTMR3_HEX = "3560241ed52b05bc301354c9d8b732a163af50639d37ad8f907413b12899292e5b2490b4fb9e3ed5a186e0b18a3189a1"


def test_report_data_vector() -> None:
    assert kbs_report_data("bm9uY2U=", KEY).hex() == REPORT_DATA_HEX
    assert hashlib.sha384(CANONICAL).hexdigest() + "00" * 16 == REPORT_DATA_HEX


def test_additional_evidence_is_a_json_string() -> None:
    text = '{"0":"x"}'
    canonical = CANONICAL.replace(b'"additional-evidence":""', b'"additional-evidence":"{\\"0\\":\\"x\\"}"')
    expected = hashlib.sha384(canonical).digest() + bytes(16)
    assert kbs_report_data("bm9uY2U=", KEY, text) == expected


@pytest.mark.parametrize(
    "other",
    [
        kbs_report_data("bm9uY2U+", KEY),
        kbs_report_data("bm9uY2U=", KEY | {"x": "eHh"}),
        kbs_report_data("bm9uY2U=", KEY, "{}"),
    ],
)
def test_report_data_binds_every_member(other: bytes) -> None:
    assert other != kbs_report_data("bm9uY2U=", KEY)


def test_lock_event_and_register_vectors() -> None:
    lock = bytes(range(32))
    assert lock_event_digest(lock).hex() == EVENT_HEX
    assert rtmr3_for_lock(lock).hex() == RTMR3_HEX
    assert hashlib.sha384(bytes(48) + bytes.fromhex(EVENT_HEX)).hexdigest() == RTMR3_HEX


@pytest.mark.parametrize("size", [0, 31, 33, 48])
def test_lock_digest_size_is_checked(size: int) -> None:
    with pytest.raises(UsageError, match="expected 32 bytes"):
        lock_event_digest(bytes(size))


@pytest.mark.parametrize(("register", "digest"), [(47, 48), (48, 32)])
def test_extend_sizes_are_checked(register: int, digest: int) -> None:
    with pytest.raises(UsageError, match="expected 48 bytes"):
        extend(bytes(register), bytes(digest))
