"""Wrap keys: their ids, the derivation of output keys, key files and the owner's keyring.

A wrap key is 16 raw bytes, the AES-128 root key of protected files. Here are no broker and no policy: who may
have a key is decided elsewhere. A key is never part of a repr, a message or a pickle.
"""

from __future__ import annotations

import hmac
import os
import re
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

from lanthorn.canonical import labelled_sha256
from lanthorn.errors import FormatError, StorageError, UsageError
from lanthorn.storage import storage_errors, write_atomically

KEY_BYTES: Final = 16
RUN_ID_BYTES: Final = 16
KEY_ID_BYTES: Final = 8
KEY_NAME_PATTERN: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
KEY_SUFFIX: Final = ".key"
_OUTPUT_KEY_LABEL: Final = b"lanthorn-output-key-v1\0"
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class WrapKey:
    """Sixteen secret bytes. The repr shows the key id only; pickling is refused."""

    __slots__ = ("_raw",)

    def __init__(self, raw: bytes) -> None:
        if len(raw) != KEY_BYTES:
            raise FormatError(f"not a wrap key: expected {KEY_BYTES} bytes, got {len(raw)}")
        self._raw = bytes(raw)

    @property
    def raw(self) -> bytes:
        return self._raw

    @property
    def key_id(self) -> str:
        """Sixteen hex digits that name the key without telling anything about it."""
        return labelled_sha256("lanthorn-key-id-v1", self._raw)[:KEY_ID_BYTES].hex()

    def __repr__(self) -> str:
        return f"WrapKey(key_id={self.key_id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WrapKey) and hmac.compare_digest(self._raw, other._raw)

    def __hash__(self) -> int:
        return hash(self.key_id)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a wrap key is not pickled")


def check_key_name(name: str) -> str:
    """Return `name` if it is a key's name. Raises `UsageError`."""
    if not KEY_NAME_PATTERN.fullmatch(name):
        raise UsageError(
            f"not a key name: {name!r}",
            hint="1 to 64 of a-z 0-9 . _ -, the first one a letter or a digit",
        )
    return name


def parse_run_id(run_id: str) -> bytes:
    """Return the 16 bytes of a run id. Raises `UsageError` for anything but 32 lower-case hex digits."""
    if not re.fullmatch(r"[0-9a-f]{32}", run_id):
        raise UsageError(f"not a run id: {run_id!r}", hint="a run id is 32 hex digits, as in run.json")
    return bytes.fromhex(run_id)


def derive_output_key(owner_key: WrapKey, run_id: str, name: str) -> WrapKey:
    """Derive the key of one run's outputs from the owner's key.

    HKDF-SHA256 (RFC 5869), salt the run id, info a label and the key's name: another run or another name
    gives an unrelated key, and the output key tells nothing about the owner's. Raises `UsageError` for a
    bad id or name.
    """
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    info = _OUTPUT_KEY_LABEL + check_key_name(name).encode()
    derivation = HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=parse_run_id(run_id), info=info)
    return WrapKey(derivation.derive(owner_key.raw))


def load_key_file(path: Path | str) -> WrapKey:
    """Read a wrap key from a file of exactly 16 bytes that nobody else may read; `-` is standard input.

    Not checked: who owns the file, and what its folder allows. Raises `StorageError` or `FormatError`.
    """
    if str(path) == "-":
        return _parse_key(sys.stdin.buffer.read(KEY_BYTES + 1), "standard input")
    with storage_errors("read", path), open(path, "rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        raw = file.read(KEY_BYTES + 1)
    if mode & _OTHERS:
        raise StorageError(
            f"key file {path} is open to others: expected mode 600, got {mode:o}", hint=f"chmod 600 {path}"
        )
    return _parse_key(raw, str(path))


def _parse_key(raw: bytes, name: str) -> WrapKey:
    if len(raw) != KEY_BYTES:
        got = f"more than {KEY_BYTES}" if len(raw) > KEY_BYTES else str(len(raw))
        raise FormatError(f"{name} is not a key file: expected {KEY_BYTES} bytes, got {got}")
    return WrapKey(raw)


class Keyring:
    """The owner's keys: `<name>.key`, mode 0600, in a folder of mode 0700 that is made when first needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self, name: str, *, random: Callable[[int], bytes] = os.urandom) -> WrapKey:
        """Make a new key. An existing one is never replaced: raises `StorageError`."""
        return self._store(name, WrapKey(random(KEY_BYTES)))

    def import_(self, name: str, source: Path | str) -> WrapKey:
        """Copy a key file into the keyring under `name`; an existing key is never replaced."""
        return self._store(name, load_key_file(source))

    def export(self, name: str, destination: Path) -> WrapKey:
        """Write the 16 raw bytes of a key to a new file of mode 0600."""
        key = self.load(name)
        write_atomically(destination, key.raw, mode=0o600, force=False)
        return key

    def load(self, name: str) -> WrapKey:
        """Return the key called `name`. Raises `StorageError` when there is none."""
        path = self._path(name)
        if not os.path.exists(path):
            raise StorageError(
                f"no key named {name} in {self.folder}", hint=f"make one with: lanthorn key new {name}"
            )
        self._check_folder()
        return load_key_file(path)

    def names(self) -> list[str]:
        """Return the names of all keys, sorted; a keyring that does not exist yet has none."""
        if not os.path.exists(self.folder):
            return []
        self._check_folder()
        with storage_errors("list", self.folder):
            stems = [entry.name.removesuffix(KEY_SUFFIX) for entry in self.folder.glob(f"*{KEY_SUFFIX}")]
        return sorted(stem for stem in stems if KEY_NAME_PATTERN.fullmatch(stem))

    def _path(self, name: str) -> Path:
        return self.folder / f"{check_key_name(name)}{KEY_SUFFIX}"

    def _store(self, name: str, key: WrapKey) -> WrapKey:
        path = self._path(name)
        with storage_errors("make", self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._check_folder()
        if os.path.lexists(path):
            raise StorageError(f"key exists: {name}", hint="keys are never replaced; choose another name")
        write_atomically(path, key.raw, mode=0o600, force=False)
        return key

    def _check_folder(self) -> None:
        with storage_errors("read", self.folder):
            mode = stat.S_IMODE(self.folder.stat().st_mode)
        if mode & _OTHERS:
            raise StorageError(
                f"keyring {self.folder} is open to others: expected mode 700, got {mode:o}",
                hint=f"chmod 700 {self.folder}",
            )
