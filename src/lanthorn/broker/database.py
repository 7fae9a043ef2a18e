"""One SQLite file that several processes share: transactions, durability, the edge where its errors stop."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import SQLAlchemyError

from lanthorn.broker import schema
from lanthorn.errors import FormatError, StorageError
from lanthorn.storage import storage_errors

BUSY_SECONDS = 10.0
POOL_SIZE = 16
MAX_CONNECTIONS = 48
"""More than the 40 threads that requests run in, so no request waits for another's connection."""

_WRITE = "lanthorn_write"


class Database:
    """A broker's database, open. Safe for threads. Every method raises `StorageError` when SQLite fails."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise StorageError(f"cannot read {path}: no such file or directory")
        self._path = path
        self._engine = _engine(path)
        with self.read() as connection:
            found = connection.execute(text("PRAGMA user_version")).scalar_one()
        if found != schema.SCHEMA_VERSION:
            self.close()
            raise FormatError(f"{path}: expected database version {schema.SCHEMA_VERSION}, got {found}")

    @classmethod
    def create(cls, path: Path) -> Database:
        """Make the file, its tables and triggers. Raises `StorageError` if it exists."""
        with storage_errors("create", path):
            path.touch(mode=0o600, exist_ok=False)
        engine = _engine(path)
        with _edge(path), engine.execution_options(**{_WRITE: True}).begin() as connection:
            schema.metadata.create_all(connection)
            for statement in schema.APPEND_ONLY:
                connection.execute(text(statement))
            connection.execute(text(f"PRAGMA user_version = {schema.SCHEMA_VERSION}"))
        engine.dispose()
        return cls(path)

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a consistent view."""
        with _edge(self._path), self._engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a transaction that is durable when the block ends, and undone when it raises."""
        with _edge(self._path), self._engine.execution_options(**{_WRITE: True}).begin() as connection:
            yield connection

    def close(self) -> None:
        self._engine.dispose()


@contextlib.contextmanager
def _edge(path: Path) -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        # The driver's own words have no parameters in them; SQLAlchemy's may.
        cause = getattr(error, "orig", None)
        words = f"{type(cause).__name__}: {cause}" if cause is not None else type(error).__name__
        raise StorageError(f"the broker's database {path} failed: {words}") from error


def _engine(path: Path) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": BUSY_SECONDS},
        pool_size=POOL_SIZE,
        max_overflow=MAX_CONNECTIONS - POOL_SIZE,
    )
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def _configure(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's connection
    """Set what SQLite forgets between connections, and leave transactions to us, not to the driver."""
    connection.isolation_level = None
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    """Take the write lock at once where we will write: upgrading later fails instead of waiting."""
    immediate = connection.get_execution_options().get(_WRITE)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
