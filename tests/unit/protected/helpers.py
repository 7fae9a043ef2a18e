"""Files in memory for the tests of protected files."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lanthorn.keys import WrapKey
from lanthorn.protected import FileRange, ProtectedReader, encrypt_stream

KEY = WrapKey(bytes(range(16)))
OTHER_KEY = WrapKey(bytes(range(1, 17)))
SECOND_LEVEL = 3072 + (96 + 32 * 96) * 4096 + 1


def contents(size: int) -> bytes:
    return hashlib.shake_256(f"test:{size}".encode()).digest(size)


class Memory:
    """A host file that is bytes: the plain `RangeReader` protocol, nothing more."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def pread(self, length: int, offset: int) -> bytes:
        return bytes(self.data[offset : offset + length])

    def size(self) -> int:
        return len(self.data)


@contextmanager
def new_store() -> Iterator[FileRange]:
    fd = os.memfd_create("store")
    try:
        yield FileRange(fd, "store")
    finally:
        os.close(fd)


def encrypt(data: bytes, path: str = "in/file", key: WrapKey = KEY) -> bytes:
    with new_store() as store:
        encrypt_stream(io.BytesIO(data), store, key, path)
        return store.pread(store.size(), 0)


def read_all(
    raw: bytes, *, path: str | None = "in/file", key: WrapKey = KEY, version: str | None = None
) -> bytes:
    reader = ProtectedReader.open(Memory(raw), key, path=path, version=version)
    return reader.read(reader.size, 0)


class RecordingRandom:
    """`os.urandom` that remembers what it gave."""

    def __init__(self) -> None:
        self.given: list[bytes] = []

    def __call__(self, length: int) -> bytes:
        data = os.urandom(length)
        self.given.append(data)
        return data

    @property
    def keys(self) -> set[bytes]:
        return {data[i : i + 16] for data in self.given for i in range(0, len(data), 16)}


class CountingGCM:
    """AES-GCM that fails the test when a key encrypts a second time: with a zero IV that would be fatal."""

    used: ClassVar[set[bytes]] = set()

    def __init__(self, key: bytes) -> None:
        self._key = bytes(key)
        self._real = AESGCM(key)
        self.decrypt = self._real.decrypt
        self.decrypt_into = self._real.decrypt_into

    def _count(self) -> None:
        assert self._key not in self.used, "a key encrypts twice"
        self.used.add(self._key)

    def encrypt(self, *arguments: Any) -> bytes:
        self._count()
        return self._real.encrypt(*arguments)

    def encrypt_into(self, *arguments: Any) -> int:
        self._count()
        return self._real.encrypt_into(*arguments)
