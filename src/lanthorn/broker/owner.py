"""What the owner tells the broker: import keys, allow a lock, revoke."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lanthorn.broker.decision import Grant
from lanthorn.broker.store import Store
from lanthorn.errors import StorageError, UsageError
from lanthorn.job.lock import Lock
from lanthorn.keys import Keyring, WrapKey, load_key_file


@dataclass(frozen=True)
class Allowed:
    """What `allow` did: the grants, the keys imported anew, the keys of the lock that nobody has."""

    grants: tuple[Grant, ...]
    imported: tuple[str, ...]
    missing: tuple[str, ...]


def keys_of_broker(lock: Lock, pin: str) -> tuple[str, ...]:
    """Return the keys that a lock assigns to the broker with this pin.

    Raises `UsageError` if there is none.
    """
    ours = {name for name, broker in lock.brokers.items() if pin in broker.spki}
    names = tuple(sorted(key for key, broker in lock.keys.items() if broker in ours))
    if not names:
        raise UsageError(
            f"lock {lock.digest.hex()} assigns no key to this broker ({pin})",
            hint="put this broker's pin into [brokers.…] spki of lanthorn.toml and lock again",
        )
    return names


def allow(
    store: Store, lock: Lock, pin: str, *, policy_text: str, files: Mapping[str, Path], keyring: Keyring
) -> Allowed:
    """Import the lock's keys from `files` and the keyring, and grant those there are to the lock.

    A key that is nowhere is left out, and the job cannot run until it is there. Raises `UsageError` if that
    is all of them, for a file given for a key that the lock does not assign to this broker, and for another
    key under a name that the broker has.
    """
    names = keys_of_broker(lock, pin)
    strangers = sorted(files.keys() - set(names))
    if strangers:
        raise UsageError(
            f"the lock assigns no key {strangers[0]} to this broker: it assigns {', '.join(names)}"
        )
    found = {name: key for name in names if (key := _find(name, files, keyring)) is not None}
    imported = tuple(name for name, key in found.items() if store.import_key(name, key))
    held = store.key_names()
    granted = tuple(name for name in names if name in held)
    missing = tuple(name for name in names if name not in held)
    if not granted:
        raise UsageError(
            f"none of the lock's keys is there: {', '.join(names)}",
            hint=f"--key NAME=FILE, or a key of that name in {keyring.folder}",
        )
    grants = store.allow(granted, lock=lock.digest.hex(), job=lock.canonical, policy_text=policy_text)
    return Allowed(grants, imported, missing)


def _find(name: str, files: Mapping[str, Path], keyring: Keyring) -> WrapKey | None:
    if name in files:
        return load_key_file(files[name])
    return keyring.load(name) if name in keyring.names() else None


def revoke(
    store: Store, *, lock: str | None, key: str | None, read_lock: Callable[[Path], bytes]
) -> tuple[Grant, ...]:
    """Revoke what is granted to a lock (a digest or a lock file), or of a key.

    Raises `UsageError` if nothing is.
    """
    if (lock is None) == (key is None):
        raise UsageError("expected a lock or --key NAME, one of them")
    digest = _lock_digest(lock, read_lock) if lock is not None else None
    revoked = store.revoke(lock=digest, key=key)
    if not revoked:
        raise UsageError(f"nothing is granted {f'to lock {digest}' if digest else f'of key {key}'}")
    return revoked


def _lock_digest(text: str, read_lock: Callable[[Path], bytes]) -> str:
    lowered = text.lower()
    if len(lowered) == 64 and not set(lowered) - set("0123456789abcdef"):
        return lowered
    if not Path(text).exists():
        raise StorageError(f"cannot read {text}: neither a lock file nor a lock's digest (64 hex digits)")
    return read_lock(Path(text)).hex()
