"""A second implementation of the format, written from its description alone: whole files, nothing shared.

It knows AES-GCM and AES-CMAC and imports nothing of the package under test.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

ZERO_IV = b"\0" * 12


@dataclass
class Decoded:
    path: str
    data: bytes
    nonce: bytes
    node_keys: list[bytes]


def _metadata_key(wrap_key: bytes, nonce: bytes) -> bytes:
    message = (1).to_bytes(4, "little") + b"SGX-PROTECTED-FS-METADATA-KEY".ljust(64, b"\0") + nonce
    message += (128).to_bytes(4, "little")
    assert len(message) == 104
    mac = CMAC(AES(wrap_key))
    mac.update(message)
    return mac.finalize()


def _open(key: bytes, tag: bytes, cipher: bytes) -> bytes:
    return AESGCM(key).decrypt(ZERO_IV, cipher + tag, None)


def decode(raw: bytes, wrap_key: bytes) -> Decoded:
    """Decrypt a whole file, or let `InvalidTag` and assertions fly."""
    assert len(raw) % 4096 == 0 and raw[:8] == b"GRAFS_PF" and raw[9] == 0
    start = {1: 58, 2: 59}[raw[8]]
    nonce = raw[10:42]
    plain = _open(_metadata_key(wrap_key, nonce), raw[42:58], raw[start : start + 3884])
    assert raw[start + 3884 : 4096].strip(b"\0") == b""
    path = plain[:772].rstrip(b"\0").decode()
    (size,) = struct.unpack_from("<Q", plain, 772)
    if size <= 3072:
        assert len(raw) == 4096
        return Decoded(path, plain[812 : 812 + size], nonce, [])
    keys: list[bytes] = []
    entries: dict[int, bytes] = {1: plain[780:812]}
    pieces = [plain[812:]]
    for number in range(1, len(raw) // 4096):
        entry = entries.pop(number)
        keys.append(entry[:16])
        node = _open(entry[:16], entry[16:], raw[number * 4096 : number * 4096 + 4096])
        if (number - 1) % 97:
            pieces.append(node)
            continue
        m = (number - 1) // 97
        for i in range(96):
            entries[number + 1 + i] = node[32 * i : 32 * i + 32]
        for i in range(32):
            child = 1 + (m * 32 + 1 + i) * 97
            entries[child] = node[3072 + 32 * i : 3072 + 32 * i + 32]
    data = b"".join(pieces)
    assert data[size:].strip(b"\0") == b"", "the tail of the last node is zero"
    assert set(entries.values()) <= {bytes(32)}, "entries of nodes that do not exist are zero"
    return Decoded(path, data[:size], nonce, keys)


def encode_v1(data: bytes, path: str, wrap_key: bytes, nonce: bytes) -> bytes:
    """Make a version 1 file of at most 3072 bytes."""
    assert len(data) <= 3072
    plain = (
        path.encode().ljust(772, b"\0") + struct.pack("<Q", len(data)) + bytes(32) + data.ljust(3072, b"\0")
    )
    both = AESGCM(_metadata_key(wrap_key, nonce)).encrypt(ZERO_IV, plain, None)
    return (b"GRAFS_PF\x01\x00" + nonce + both[-16:] + both[:-16]).ljust(4096, b"\0")


def encode_v2_metadata(plain: bytes, wrap_key: bytes, nonce: bytes) -> bytes:
    """Make node 0 from any 3884 bytes, well-formed or not: only the owner of the key can."""
    assert len(plain) == 3884
    both = AESGCM(_metadata_key(wrap_key, nonce)).encrypt(ZERO_IV, plain, None)
    return (b"GRAFS_PF\x02\x00" + nonce + both[-16:] + b"\0" + both[:-16]).ljust(4096, b"\0")
