"""The cryptography of protected files: AES-128-GCM nodes and the metadata key.

The IV is always zero. That is safe only because a key encrypts one node once: every caller takes fresh keys
from its random source for every node, each time it is written. `encrypt_*` here take the keys, so that the
rule can be tested by recording them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lanthorn.protected._layout import ENTRY, KEY, NODE, TAG

Random = Callable[[int], bytes]
Buffer = bytes | bytearray | memoryview

IV: Final = bytes(12)
_LABEL: Final = b"SGX-PROTECTED-FS-METADATA-KEY"
_LABEL_BYTES: Final = 64
_NODE_AND_TAG: Final = NODE + TAG


class BadNodeError(Exception):
    """A tag did not fit.

    `index` counts from the first node of the call; callers turn it into `IntegrityError`.
    """

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


def metadata_key(wrap_key: bytes, nonce: bytes) -> bytes:
    """Derive the metadata key: NIST SP 800-108 in counter mode, one block of AES-128-CMAC."""
    from cryptography.hazmat.primitives.ciphers.algorithms import AES128
    from cryptography.hazmat.primitives.cmac import CMAC

    mac = CMAC(AES128(wrap_key))
    mac.update(struct.pack(f"<I{_LABEL_BYTES}s32sI", 1, _LABEL, nonce, 8 * KEY))
    return mac.finalize()


def encrypt_one(key: bytes, plain: Buffer) -> tuple[bytes, bytes]:
    """Return ciphertext and tag under a key that has never been used."""
    both = AESGCM(key).encrypt(IV, plain, None)
    return both[:-TAG], both[-TAG:]


def decrypt_one(key: bytes, tag: bytes, cipher: Buffer) -> bytes:
    """Return the plaintext. Raises `BadNodeError` when the tag does not fit."""
    try:
        return AESGCM(key).decrypt(IV, bytes(cipher) + tag, None)
    except InvalidTag as error:
        raise BadNodeError(0) from error


def encrypt_nodes(plain: memoryview, keys: bytes, out: memoryview) -> bytes:
    """Encrypt one node for each 16 bytes of `keys`; return their tree entries.

    The ciphertexts stand in `out` without gaps. It needs 16 bytes more than they do: AESGCM writes each tag
    behind its ciphertext, where the next node overwrites it.
    """
    gcm, iv, both = AESGCM, IV, _NODE_AND_TAG
    entries = []
    at = 0
    for k in range(0, len(keys), KEY):
        key = keys[k : k + KEY]
        end = at + NODE
        gcm(key).encrypt_into(iv, plain[at:end], None, out[at : at + both])
        entries.append(key)
        entries.append(bytes(out[end : end + TAG]))
        at = end
    return b"".join(entries)


def decrypt_nodes(cipher: memoryview, entries: bytes, out: memoryview) -> None:
    """Decrypt one node for each 32 bytes of `entries` into `out`; destroys `cipher`.

    `cipher` needs 16 spare bytes. Goes backwards, because AESGCM wants each tag behind its ciphertext: the
    place of a node already done. Raises `BadNodeError`; `out` then holds what must not be used.
    """
    gcm, iv = AESGCM, IV
    for index in range(len(entries) // ENTRY - 1, -1, -1):
        e = index * ENTRY
        at = index * NODE
        end = at + NODE
        cipher[end : end + TAG] = entries[e + KEY : e + ENTRY]
        try:
            gcm(entries[e : e + KEY]).decrypt_into(iv, cipher[at : end + TAG], None, out[at:end])
        except InvalidTag as error:
            raise BadNodeError(index) from error
