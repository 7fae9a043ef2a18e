"""A simulated root can't be taken for a real one, nor the other way round."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from lanthorn.attestation.verifier.roots import INTEL, INTEL_SGX_ROOT_SPKI, TrustAnchor, simulated_anchor
from lanthorn.errors import UsageError

from .conftest import Bench


def test_pinned_key_as_simulated_is_refused() -> None:
    with pytest.raises(UsageError, match="real vendor's root cannot be a simulated anchor"):
        TrustAnchor("sim", "simulated", INTEL_SGX_ROOT_SPKI)


def test_another_key_as_intel_is_refused(bench: Bench) -> None:
    with pytest.raises(UsageError, match="not the root key of intel"):
        TrustAnchor("intel", "intel", bench.anchor.public_key)


@pytest.mark.parametrize("key", [b"", INTEL_SGX_ROOT_SPKI[:-1], INTEL_SGX_ROOT_SPKI + b"\0", bytes(91)])
def test_only_p256_keys(key: bytes) -> None:
    for kind in ("intel", "simulated"):
        with pytest.raises(UsageError, match="P-256"):
            TrustAnchor("x", kind, key)


def test_unknown_kind() -> None:
    with pytest.raises(UsageError, match="kind"):
        TrustAnchor("x", "amd", INTEL_SGX_ROOT_SPKI)


def test_kinds() -> None:
    assert not INTEL.simulated


@pytest.mark.parametrize(
    "pem", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_bad_root_files(pem: bytes) -> None:
    with pytest.raises(UsageError, match="trust anchor sim"):
        simulated_anchor("sim", pem)


def test_two_roots_in_a_file_are_refused(bench: Bench) -> None:
    with pytest.raises(UsageError, match="expected 1 certificates"):
        simulated_anchor("sim", bench.platform.root_path.read_bytes() * 2)


@pytest.mark.shared
def test_intels_own_certificate_as_simulated_is_refused() -> None:
    path = Path(__file__).parents[4] / "shared" / "evidence" / "intel_sgx_root_ca.der"
    if not path.exists():
        pytest.skip("no ../shared/evidence on this machine")
    body = base64.encodebytes(path.read_bytes()).replace(b"\n", b"")
    lines = b"\n".join(body[at : at + 64] for at in range(0, len(body), 64))
    pem = b"-----BEGIN CERTIFICATE-----\n" + lines + b"\n-----END CERTIFICATE-----\n"
    with pytest.raises(UsageError, match="real vendor's root"):
        simulated_anchor("sim", pem)
