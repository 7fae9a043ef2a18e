"""The master key: 32 random bytes in a file, under which the owner's wrap keys lie in the database.

A wrapped key is nonce || AES-256-GCM(key), with its name and key id as associated data, so a row moved to
another name does not open. The database alone, or a backup of it, gives no key away.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lanthorn.broker.secret_files import read_secret, write_secret
from lanthorn.errors import FormatError, IntegrityError

MASTER_KEY_SIZE = 32
_NONCE_SIZE = 12
_LABEL = b"lanthorn-broker-key-v1"


class MasterKey:
    """Wraps and unwraps; its bytes show in no repr and no pickle."""

    def __init__(self, raw: bytes) -> None:
        if len(raw) != MASTER_KEY_SIZE:
            raise FormatError(f"master key: expected {MASTER_KEY_SIZE} bytes, got {len(raw)}")
        self._cipher = AESGCM(raw)

    @staticmethod
    def create(path: Path) -> None:
        write_secret(path, secrets.token_bytes(MASTER_KEY_SIZE))

    @classmethod
    def load(cls, path: Path) -> MasterKey:
        try:
            return cls(read_secret(path))
        except FormatError as error:
            raise FormatError(f"{path}: {error.message}") from error

    def wrap(self, raw: bytes, *, name: str, key_id: str) -> bytes:
        """Encrypt one wrap key for its row. The nonce is random: a broker holds far fewer than 2^32 keys."""
        nonce = os.urandom(_NONCE_SIZE)
        return nonce + self._cipher.encrypt(nonce, raw, _associated_data(name, key_id))

    def unwrap(self, wrapped: bytes, *, name: str, key_id: str) -> bytes:
        """Decrypt a row's key.

        Raises `IntegrityError` for another master key, name, id or any changed bit.
        """
        nonce, ciphertext = wrapped[:_NONCE_SIZE], wrapped[_NONCE_SIZE:]
        try:
            return self._cipher.decrypt(nonce, ciphertext, _associated_data(name, key_id))
        except (InvalidTag, ValueError) as error:
            raise IntegrityError(f"stored key {name} does not open under this master key") from error

    def __repr__(self) -> str:
        return "MasterKey(redacted)"

    def __reduce__(self) -> str:
        raise TypeError("a master key is not pickled")


def _associated_data(name: str, key_id: str) -> bytes:
    return b"\0".join((_LABEL, name.encode("utf-8"), key_id.encode("ascii")))
