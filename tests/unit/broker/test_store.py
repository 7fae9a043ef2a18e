"""The store: keys wrapped, grants replaced and revoked, marks that stay, a log that is chained."""

from __future__ import annotations

import pickle
import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lanthorn.broker.database import Database
from lanthorn.broker.decision import Grant
from lanthorn.broker.log import RELEASED, Event, verify_chain
from lanthorn.broker.master import MasterKey
from lanthorn.broker.refusal import RefusedError
from lanthorn.broker.store import Store
from lanthorn.errors import FormatError, IntegrityError, StorageError, UsageError
from lanthorn.keys import WrapKey
from lanthorn.release.reasons import Reason

LOCK = "aa" * 32
KEY = WrapKey(bytes(range(16)))
MASTER = MasterKey(b"m" * 32)


def _clock() -> datetime:
    return datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "broker.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(Database.create(path), MASTER, clock=_clock) as made:
        yield made


def _allow(store: Store, *keys: str, policy: str = "p") -> tuple[Grant, ...]:
    for name in keys:
        store.import_key(name, KEY)
    return store.allow(keys, lock=LOCK, job=b"{}", policy_text=policy)


def _release(store: Store, grant: Grant, *, simulated: bool) -> WrapKey:
    return store.release(grant, Event(RELEASED, key=grant.key), simulated=simulated)


def _events(store: Store) -> list[str]:
    return [row["event"] for row in store.log_rows()]


def test_what_is_stored_is_returned(store: Store) -> None:
    (grant,) = _allow(store, "model")
    assert store.active_grants() == store.active_grants("model") == (grant,)
    assert store.active_grants("photo") == ()
    assert store.policy_text(grant.policy) == "p" and store.job(LOCK) == b"{}"
    assert store.key_names() == {"model"}
    assert _release(store, grant, simulated=False) == KEY


def test_the_same_key_twice_is_fine_and_another_under_its_name_is_not(store: Store) -> None:
    assert store.import_key("model", KEY) is True
    assert store.import_key("model", KEY) is False
    with pytest.raises(UsageError, match="has key id") as caught:
        store.import_key("model", WrapKey(b"x" * 16))
    assert KEY.raw.hex() not in str(caught.value)


def test_a_policy_keeps_its_number_and_a_new_one_replaces_the_grant(store: Store) -> None:
    (first,), (again,) = _allow(store, "model"), _allow(store, "model")
    assert first.policy == again.policy and first.id != again.id
    (second,) = _allow(store, "model", policy="q")
    assert second.policy != first.policy
    assert store.active_grants() == (second,)
    assert _events(store)[-2:] == ["revoked", "granted"]


def test_a_revoked_grant_releases_nothing_even_if_it_was_just_decided(store: Store) -> None:
    (grant,) = _allow(store, "model")
    assert store.revoke(key="model") == (grant,)
    before = _events(store)
    with pytest.raises(RefusedError) as caught:
        _release(store, grant, simulated=False)
    assert caught.value.reason is Reason.KEY_NOT_GRANTED
    assert _events(store) == before


def test_a_key_that_a_simulation_had_never_goes_to_a_real_tee(store: Store) -> None:
    (grant,) = _allow(store, "model")
    assert not store.was_released_to_simulation("model")
    _release(store, grant, simulated=True)
    _release(store, grant, simulated=True)
    assert store.was_released_to_simulation("model")
    with pytest.raises(RefusedError) as caught:
        _release(store, grant, simulated=False)
    assert caught.value.reason is Reason.KEY_USED_IN_SIMULATION


def test_the_mark_follows_the_key_to_another_name(store: Store) -> None:
    model, alias = _allow(store, "model", "alias")
    _release(store, model, simulated=True)
    assert store.was_released_to_simulation("alias")
    with pytest.raises(RefusedError):
        _release(store, alias, simulated=False)


def test_a_release_that_cannot_be_logged_is_none(store: Store, path: Path) -> None:
    (grant,) = _allow(store, "model")
    with sqlite3.connect(path) as other:
        other.execute("CREATE TRIGGER full BEFORE INSERT ON log BEGIN SELECT RAISE(ABORT, 'no'); END")
    other.close()
    with pytest.raises(StorageError, match="failed"):
        _release(store, grant, simulated=True)
    assert not store.was_released_to_simulation("model")


def test_another_master_key_opens_nothing(store: Store, path: Path) -> None:
    (grant,) = _allow(store, "model")
    with (
        Store(Database(path), MasterKey(b"n" * 32), clock=_clock) as stolen,
        pytest.raises(IntegrityError, match="model"),
    ):
        _release(stolen, grant, simulated=False)


def test_a_wrapped_key_moved_to_another_name_does_not_open(store: Store, path: Path) -> None:
    _allow(store, "model")
    store.import_key("photo", WrapKey(b"y" * 16))
    (grant,) = store.allow(["photo"], lock=LOCK, job=b"{}", policy_text="p")
    with sqlite3.connect(path) as other:
        other.execute(
            "UPDATE keys SET (key_id, wrapped) = (SELECT key_id, wrapped FROM keys WHERE name = 'model') "
            "WHERE name = 'photo'"
        )
    other.close()
    with pytest.raises(IntegrityError, match="photo"):
        _release(store, grant, simulated=False)


def test_many_writers_make_one_chain(store: Store, path: Path) -> None:
    def write(number: int) -> None:
        with Store(Database(path), MASTER, clock=_clock) as other:
            for count in range(10):
                other.append(Event("refused", code=f"{number}-{count}"))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    count, head = verify_chain(store.log_rows())
    assert count == 40 and len(head) == 64


def test_a_row_says_when_and_what(store: Store) -> None:
    store.append(Event("refused", code="x", detail={"words": "ä", "n": 1}))
    (row,) = store.log_rows()
    assert row["time"] == "2026-11-23T12:00:00.000+00:00"
    assert row["detail"] == '{"n":1,"words":"ä"}'
    assert row["previous"] == "0" * 64


def test_a_huge_detail_is_cut(store: Store) -> None:
    store.append(Event("refused", detail={"words": "x" * 1_000_000}))
    (row,) = store.log_rows()
    assert len(row["detail"]) < 70_000
    verify_chain(store.log_rows())


def test_create_never_replaces_and_open_never_creates(store: Store, path: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="exists"):
        Database.create(path)
    missing = tmp_path / "missing.sqlite"
    with pytest.raises(StorageError, match="no such file"):
        Database(missing)
    assert not missing.exists()


def test_what_is_no_database_of_ours_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.sqlite"
    text.write_text("hello " * 1000)
    with pytest.raises(StorageError, match="failed"):
        Database(text)
    empty = tmp_path / "empty.sqlite"
    empty.touch()
    with pytest.raises(FormatError, match="expected database version 1, got 0"):
        Database(empty)


def test_what_is_not_there_is_an_error(store: Store) -> None:
    with pytest.raises(FormatError, match="no policy 9"):
        store.policy_text(9)
    with pytest.raises(FormatError, match="no lock"):
        store.job(LOCK)


def test_a_master_key_shows_in_no_repr_and_no_pickle(tmp_path: Path) -> None:
    assert "m" * 8 not in repr(MASTER) and repr(MASTER) == "MasterKey(redacted)"
    with pytest.raises(TypeError):
        pickle.dumps(MASTER)
    MasterKey.create(tmp_path / "master.key")
    loaded = MasterKey.load(tmp_path / "master.key")
    assert loaded.unwrap(loaded.wrap(b"k", name="n", key_id="00"), name="n", key_id="00") == b"k"


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_master_key_of_another_size_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "master.key"
    path.write_bytes(bytes(size))
    path.chmod(0o600)
    with pytest.raises(FormatError, match=f"expected 32 bytes, got {size}"):
        MasterKey.load(path)


@pytest.mark.parametrize("wrapped", [b"", b"x" * 12, b"x" * 60])
def test_what_is_no_wrapped_key_is_refused(wrapped: bytes) -> None:
    with pytest.raises(IntegrityError):
        MASTER.unwrap(wrapped, name="n", key_id="00")
