"""Wrap keys, their files, the keyring and derivation."""

from __future__ import annotations

import hashlib
import hmac
import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanthorn.errors import FormatError, StorageError, UsageError
from lanthorn.keys import Keyring, WrapKey, derive_output_key, load_key_file

RAW = bytes(range(16))
RUN = "00112233445566778899aabbccddeeff"


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring(tmp_path / "deep" / "keys")


def key_file(folder: Path, data: bytes, mode: int = 0o600) -> Path:
    path = folder / "some.key"
    path.write_bytes(data)
    path.chmod(mode)
    return path


def test_the_key_id_is_fixed() -> None:
    assert WrapKey(RAW).key_id == hashlib.sha256(b"lanthorn-key-id-v1\0" + RAW).hexdigest()[:16]


def test_a_key_does_not_show_itself() -> None:
    key = WrapKey(RAW)
    for text in (repr(key), str(key), f"{key}", repr([key]), repr({"key": key})):
        assert RAW.hex() not in text and repr(RAW)[2:-1] not in text
        assert key.key_id in text
    with pytest.raises(TypeError):
        pickle.dumps(key)


@pytest.mark.parametrize("length", [0, 1, 15, 17, 32])
def test_a_key_has_16_bytes(length: int) -> None:
    with pytest.raises(FormatError, match=f"expected 16 bytes, got {length}"):
        WrapKey(bytes(length))


def test_equality() -> None:
    assert WrapKey(RAW) == WrapKey(bytes(RAW)) and hash(WrapKey(RAW)) == hash(WrapKey(RAW))
    assert WrapKey(RAW) != WrapKey(RAW[::-1]) and WrapKey(RAW) != RAW


def test_derivation_is_rfc_5869() -> None:
    info = b"lanthorn-output-key-v1\0result"
    extracted = hmac.digest(bytes.fromhex(RUN), RAW, "sha256")
    expected = hmac.digest(extracted, info + b"\x01", "sha256")[:16]
    assert derive_output_key(WrapKey(RAW), RUN, "result").raw == expected


def test_derivation_separates_runs_names_and_owners() -> None:
    keys = {
        derive_output_key(WrapKey(owner), run, name).raw
        for owner in (RAW, RAW[::-1])
        for run in (RUN, RUN[::-1])
        for name in ("result", "results")
    }
    assert len(keys) == 8 and not keys & {RAW, RAW[::-1]}


@pytest.mark.parametrize("run", ["", RUN[:-1], RUN + "0", RUN.upper(), "g" * 32, RUN[:-1] + "\n"])
def test_refuses_what_is_no_run_id(run: str) -> None:
    with pytest.raises(UsageError, match="not a run id"):
        derive_output_key(WrapKey(RAW), run, "result")


@pytest.mark.parametrize("name", ["", ".a", "-a", "A", "a/b", "../a", "a b", "é", "a" * 65, "a\n"])
def test_refuses_what_is_no_key_name(name: str, keyring: Keyring) -> None:
    for use in (keyring.create, keyring.load, lambda n: derive_output_key(WrapKey(RAW), RUN, n)):
        with pytest.raises(UsageError, match="not a key name"):
            use(name)
    assert not keyring.folder.exists()


def test_a_keyring_keeps_keys_to_their_owner(keyring: Keyring) -> None:
    key = keyring.create("model")
    assert keyring.load("model") == key
    assert keyring.folder.stat().st_mode & 0o777 == 0o700
    assert (keyring.folder / "model.key").stat().st_mode & 0o777 == 0o600
    assert (keyring.folder / "model.key").read_bytes() == key.raw


def test_keys_come_from_the_random_source(keyring: Keyring) -> None:
    assert keyring.create("model", random=lambda n: b"r" * n).raw == b"r" * 16


def test_a_key_is_never_replaced(keyring: Keyring, tmp_path: Path) -> None:
    key = keyring.create("model")
    with pytest.raises(StorageError, match="key exists: model"):
        keyring.create("model")
    with pytest.raises(StorageError, match="key exists: model"):
        keyring.import_("model", key_file(tmp_path, RAW))
    assert keyring.load("model") == key


def test_import_and_export(keyring: Keyring, tmp_path: Path) -> None:
    keyring.import_("model", key_file(tmp_path, RAW))
    keyring.export("model", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == RAW
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600
    with pytest.raises(StorageError, match="output exists"):
        keyring.export("model", tmp_path / "out")


def test_names(keyring: Keyring) -> None:
    assert keyring.names() == []
    keyring.create("b")
    keyring.create("a.key")
    (keyring.folder / "NOT A NAME.key").write_bytes(b"")
    assert keyring.names() == ["a.key", "b"]


def test_a_missing_key_says_how_to_make_it(keyring: Keyring) -> None:
    with pytest.raises(StorageError, match="no key named model") as caught:
        keyring.load("model")
    assert caught.value.hint == "make one with: lanthorn key new model"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o444, 0o644, 0o601])
def test_a_key_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = key_file(tmp_path, RAW, mode)
    with pytest.raises(StorageError, match=f"expected mode 600, got {mode:o}") as caught:
        load_key_file(path)
    assert caught.value.hint == f"chmod 600 {path}"


def test_a_keyring_open_to_others_is_refused(keyring: Keyring) -> None:
    keyring.create("model")
    keyring.folder.chmod(0o755)
    for use in (lambda: keyring.load("model"), keyring.names, lambda: keyring.create("other")):
        with pytest.raises(StorageError, match="expected mode 700, got 755"):
            use()


@pytest.mark.parametrize(
    ("length", "got"), [(15, "got 15"), (0, "got 0"), (17, "got more than 16"), (33, "got more")]
)
def test_a_key_file_has_16_bytes(tmp_path: Path, length: int, got: str) -> None:
    with pytest.raises(FormatError, match=f"expected 16 bytes, {got}"):
        load_key_file(key_file(tmp_path, bytes(length)))


def test_a_folder_is_no_key_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot read"):
        load_key_file(tmp_path)


@given(st.binary(max_size=40))
def test_no_key_file_raises_something_foreign(data: bytes) -> None:
    fd = os.memfd_create("key")
    try:
        os.write(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
        os.fchmod(fd, 0o600)
        path = Path(f"/proc/self/fd/{fd}")
        if len(data) == 16:
            assert load_key_file(path).raw == data
        else:
            with pytest.raises(FormatError):
                load_key_file(path)
    finally:
        os.close(fd)
