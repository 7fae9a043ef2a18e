"""The broker's state: keys (wrapped), locks, policies, grants, the log. One SQLite file, several processes.

Invariants: a row of the log is durable (synchronous=FULL, committed) before the method that wrote it returns;
at most one grant of a key to a lock is active; a policy's text never changes under its number; a key id in
`simulated_releases` stays there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, insert, select, update

from lanthorn.broker import schema
from lanthorn.broker.database import Database
from lanthorn.broker.decision import Grant
from lanthorn.broker.log import GENESIS, GRANTED, KEY_IMPORTED, REVOKED, Event
from lanthorn.broker.master import MasterKey
from lanthorn.broker.refusal import RefusedError
from lanthorn.errors import FormatError, UsageError
from lanthorn.keys import WrapKey
from lanthorn.release.reasons import Reason


class Store:
    """All SQL of the broker.

    Raises `StorageError` when the database fails; nothing was then decided or logged.
    """

    def __init__(self, database: Database, master: MasterKey, *, clock: Callable[[], datetime]) -> None:
        self._database, self._master, self._clock = database, master, clock

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # -- what the owner does

    def import_key(self, name: str, key: WrapKey) -> bool:
        """Store the owner's key; say whether it is new. Raises `UsageError` if the name holds another key."""
        with self._database.write() as connection:
            held = connection.execute(
                select(schema.keys.c.key_id).where(schema.keys.c.name == name)
            ).scalar_one_or_none()
            if held == key.key_id:
                return False
            if held is not None:
                raise UsageError(f"the broker's key {name} has key id {held}, the one given has {key.key_id}")
            wrapped = self._master.wrap(key.raw, name=name, key_id=key.key_id)
            connection.execute(
                insert(schema.keys).values(
                    name=name, key_id=key.key_id, wrapped=wrapped, created=self._timestamp()
                )
            )
            self._append(connection, Event(KEY_IMPORTED, key=name, detail={"key_id": key.key_id}))
        return True

    def allow(self, keys: Sequence[str], *, lock: str, job: bytes, policy_text: str) -> tuple[Grant, ...]:
        """Grant `keys` to `lock` under a policy, instead of any earlier policy for the same keys and lock."""
        with self._database.write() as connection:
            self._put_lock(connection, lock, job)
            policy = self._put_policy(connection, policy_text)
            self._revoke(
                connection, schema.grants.c.lock == lock, schema.grants.c.key.in_(keys), why="replaced"
            )
            return tuple(self._grant(connection, key, lock, policy) for key in keys)

    def revoke(self, *, lock: str | None = None, key: str | None = None) -> tuple[Grant, ...]:
        """Revoke every active grant of a lock or of a key, and return them.

        Takes effect with the next request.
        """
        condition = schema.grants.c.lock == lock if lock is not None else schema.grants.c.key == key
        with self._database.write() as connection:
            return self._revoke(connection, condition, why="revoked")

    def append(self, entry: Event) -> None:
        """Write one row of the log, durably."""
        with self._database.write() as connection:
            self._append(connection, entry)

    # -- what decisions need

    def key_names(self) -> frozenset[str]:
        with self._database.read() as connection:
            return frozenset(connection.execute(select(schema.keys.c.name)).scalars())

    def active_grants(self, key: str | None = None) -> tuple[Grant, ...]:
        """Return the grants that are not revoked now, of one key or of all."""
        query = _GRANT_COLUMNS.where(schema.grants.c.revoked.is_(None)).order_by(schema.grants.c.id)
        if key is not None:
            query = query.where(schema.grants.c.key == key)
        with self._database.read() as connection:
            return tuple(Grant(*row) for row in connection.execute(query))

    def policy_text(self, policy: int) -> str:
        with self._database.read() as connection:
            found = connection.execute(
                select(schema.policies.c.text).where(schema.policies.c.id == policy)
            ).scalar_one_or_none()
        if found is None:
            raise FormatError(f"the broker's database has no policy {policy}")
        return str(found)

    def job(self, lock: str) -> bytes:
        """Return the canonical job of a lock that was allowed."""
        with self._database.read() as connection:
            found = connection.execute(
                select(schema.locks.c.job).where(schema.locks.c.digest == lock)
            ).scalar_one_or_none()
        if found is None:
            raise FormatError(f"the broker's database has no lock {lock}")
        return bytes(found)

    def was_released_to_simulation(self, key: str) -> bool:
        with self._database.read() as connection:
            return self._is_marked(connection, key)

    def release(self, grant: Grant, entry: Event, *, simulated: bool) -> WrapKey:
        """Log a release durably and return the owner's key.

        One transaction: (1) the grant is still active; (2) a real TEE gets no key that a simulation had;
        (3) a simulated release leaves its mark; (4) the log row; commit.
        Only then is there a key to hand out.
        Raises `RefusedError` in (1) and (2).
        """
        with self._database.write() as connection:
            self._check_active(connection, grant)
            if not simulated and self._is_marked(connection, grant.key):
                raise RefusedError(Reason.KEY_USED_IN_SIMULATION, "released to a simulation meanwhile")
            key = self._unwrap(connection, grant.key)
            if simulated:
                self._mark(connection, key.key_id)
            self._append(connection, entry)
        return key

    def log_rows(self) -> Iterator[dict[str, Any]]:
        """Yield the log's rows in order."""
        with self._database.read() as connection:
            query = select(schema.log).order_by(schema.log.c.sequence)
            for row in connection.execution_options(yield_per=1000).execute(query).mappings():
                yield dict(row)

    # -- inside a transaction

    def _put_lock(self, connection: Connection, digest: str, job: bytes) -> None:
        if connection.execute(
            select(schema.locks.c.digest).where(schema.locks.c.digest == digest)
        ).scalar_one_or_none():
            return
        connection.execute(insert(schema.locks).values(digest=digest, job=job, created=self._timestamp()))

    def _put_policy(self, connection: Connection, policy_text: str) -> int:
        digest = hashlib.sha256(policy_text.encode("utf-8")).hexdigest()
        held = connection.execute(
            select(schema.policies.c.id).where(schema.policies.c.digest == digest)
        ).scalar_one_or_none()
        if held is not None:
            return int(held)
        result = connection.execute(
            insert(schema.policies)
            .values(digest=digest, text=policy_text, created=self._timestamp())
            .returning(schema.policies.c.id)
        )
        return int(result.scalar_one())

    def _grant(self, connection: Connection, key: str, lock: str, policy: int) -> Grant:
        row = insert(schema.grants).values(key=key, lock=lock, policy=policy, created=self._timestamp())
        number = connection.execute(row.returning(schema.grants.c.id)).scalar_one()
        self._append(connection, Event(GRANTED, key=key, lock=lock, policy=policy))
        return Grant(int(number), key, lock, policy)

    def _revoke(
        self, connection: Connection, *conditions: ColumnElement[bool], why: str
    ) -> tuple[Grant, ...]:
        active = _GRANT_COLUMNS.where(schema.grants.c.revoked.is_(None), *conditions)
        revoked = tuple(Grant(*row) for row in connection.execute(active))
        for grant in revoked:
            change = update(schema.grants).where(schema.grants.c.id == grant.id)
            connection.execute(change.values(revoked=self._timestamp()))
            entry = Event(REVOKED, key=grant.key, lock=grant.lock, policy=grant.policy, code=why)
            self._append(connection, entry)
        return revoked

    def _check_active(self, connection: Connection, grant: Grant) -> None:
        active = select(schema.grants.c.id).where(
            schema.grants.c.id == grant.id, schema.grants.c.revoked.is_(None)
        )
        if connection.execute(active).first() is None:
            raise RefusedError(Reason.KEY_NOT_GRANTED, "the grant was revoked meanwhile")

    def _unwrap(self, connection: Connection, name: str) -> WrapKey:
        row = connection.execute(
            select(schema.keys.c.key_id, schema.keys.c.wrapped).where(schema.keys.c.name == name)
        ).one()
        return WrapKey(self._master.unwrap(bytes(row.wrapped), name=name, key_id=row.key_id))

    def _is_marked(self, connection: Connection, key: str) -> bool:
        query = (
            select(schema.simulated_releases.c.key_id)
            .join(schema.keys, schema.keys.c.key_id == schema.simulated_releases.c.key_id)
            .where(schema.keys.c.name == key)
        )
        return connection.execute(query).first() is not None

    def _mark(self, connection: Connection, key_id: str) -> None:
        connection.execute(
            insert(schema.simulated_releases)
            .prefix_with("OR IGNORE")
            .values(key_id=key_id, first=self._timestamp())
        )

    def _append(self, connection: Connection, entry: Event) -> None:
        newest = select(schema.log.c.sequence, schema.log.c.digest)
        last = connection.execute(newest.order_by(schema.log.c.sequence.desc()).limit(1)).first()
        row = entry.columns(
            sequence=last.sequence + 1 if last else 1,
            time=self._timestamp(),
            previous=last.digest if last else GENESIS,
        )
        connection.execute(insert(schema.log).values(**row))

    def _timestamp(self) -> str:
        return self._clock().astimezone(UTC).isoformat(timespec="milliseconds")


_GRANT_COLUMNS = select(schema.grants.c.id, schema.grants.c.key, schema.grants.c.lock, schema.grants.c.policy)
