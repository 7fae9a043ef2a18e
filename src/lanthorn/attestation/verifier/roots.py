"""The keys at the top of trust: pinned for real vendors, passed explicitly for a simulated one.

Vendors re-issue their root certificates with the same key, so what is pinned is the public key.
"""

from __future__ import annotations

from dataclasses import dataclass

from lanthorn.errors import UsageError

# The SubjectPublicKeyInfo of "Intel SGX Root CA" (P-256), as published with Intel's provisioning
# certification service; the same in every issue of that certificate.
INTEL_SGX_ROOT_SPKI = bytes.fromhex(
    "3059301306072a8648ce3d020106082a8648ce3d030107034200040ba9c4c0c0c86193a3fe23d6b02cda10a8bbd4"
    "e88e48b4458561a36e705525f567918e2edc88e40d860bd0cc4ee26aacc988e505a953558c453f6b0904ae7394"
)
PINNED_SPKIS = {"intel": INTEL_SGX_ROOT_SPKI}
KINDS = ("intel", "simulated")

# Any P-256 SubjectPublicKeyInfo in DER has this prefix and 64 bytes of coordinates (RFC 5480).
P256_SPKI_PREFIX = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
P256_SPKI_SIZE = 91


@dataclass(frozen=True)
class TrustAnchor:
    """A root key and what it stands for. Whether evidence is simulated follows from this `kind` alone.

    Raises `UsageError` for a real kind with a key that is not pinned, a simulated one with a key that is.
    """

    name: str
    kind: str
    public_key: bytes

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(
                f"trust anchor {self.name}: expected kind {' or '.join(KINDS)}, got {self.kind!r}"
            )
        if len(self.public_key) != P256_SPKI_SIZE or not self.public_key.startswith(P256_SPKI_PREFIX):
            raise UsageError(f"trust anchor {self.name}: expected a P-256 public key")
        pinned = self.public_key in PINNED_SPKIS.values()
        if self.simulated and pinned:
            raise UsageError(f"trust anchor {self.name}: a real vendor's root cannot be a simulated anchor")
        if not self.simulated and self.public_key != PINNED_SPKIS[self.kind]:
            raise UsageError(f"trust anchor {self.name}: not the root key of {self.kind} that is pinned here")

    @property
    def simulated(self) -> bool:
        return self.kind == "simulated"


INTEL = TrustAnchor("intel", "intel", INTEL_SGX_ROOT_SPKI)


def simulated_anchor(name: str, root_pem: bytes) -> TrustAnchor:
    """Make a simulated anchor from its root certificate in PEM. Raises `UsageError` for anything else."""
    from lanthorn.attestation.verifier.certificates import load_pem_chain
    from lanthorn.errors import FormatError

    try:
        chain = load_pem_chain(root_pem, count=1)
    except FormatError as error:
        raise UsageError(f"trust anchor {name}: {error.message}") from error
    return TrustAnchor(name, "simulated", chain[0].spki)
