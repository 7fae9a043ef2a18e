"""The simulated vendor's and platform's private keys: P-256 scalars in one file that only its owner reads."""

from __future__ import annotations

import json
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from lanthorn.errors import FormatError
from lanthorn.storage import read_limited, write_atomically

NAMES = ("root", "ca", "tcb_signing", "pck", "attestation")
MAX_KEYS_SIZE = 4096


class VendorKeys:
    """Five private keys by name. They sign for nobody but the simulator; still, never printed or logged."""

    def __init__(self, scalars: dict[str, int]) -> None:
        self._scalars = scalars

    def __repr__(self) -> str:
        return "VendorKeys(<redacted>)"

    @classmethod
    def generate(cls) -> VendorKeys:
        curve = ec.SECP256R1()
        return cls({name: ec.generate_private_key(curve).private_numbers().private_value for name in NAMES})

    @classmethod
    def load(cls, path: Path) -> VendorKeys:
        """Read the keys' file. Raises `StorageError` or `FormatError`."""
        try:
            members = json.loads(read_limited(path, MAX_KEYS_SIZE))
            return cls({name: int.from_bytes(bytes.fromhex(members[name]), "big") for name in NAMES})
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError(f"simulator keys {path}: malformed ({type(error).__name__})") from None

    def save(self, path: Path) -> None:
        text = json.dumps({name: f"{scalar:064x}" for name, scalar in self._scalars.items()})
        write_atomically(path, text.encode(), mode=0o600)

    def private(self, name: str) -> ec.EllipticCurvePrivateKey:
        try:
            return ec.derive_private_key(self._scalars[name], ec.SECP256R1())
        except ValueError:
            raise FormatError(f"simulator keys: {name} is no P-256 key") from None


def sign_raw(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """Sign as DCAP structures do: ECDSA with SHA-256, r || s, 64 bytes."""
    r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def raw_point(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the public key as x || y, 64 bytes."""
    numbers = key.public_key().public_numbers()
    return numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
