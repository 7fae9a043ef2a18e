"""The broker's tables, in SQLite: what SQLAlchemy Core needs to know, and the triggers that keep the log
append-only.

The log is append-only for every program that goes through SQL; whoever can write the file can rewrite all of
it, and the chain then shows that something was changed only to somebody who kept an earlier head (issue of a
later version: signed checkpoints).
"""

from __future__ import annotations

from sqlalchemy import (
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA_VERSION = 1

metadata = MetaData()

keys = Table(
    "keys",
    metadata,
    Column("name", Text, primary_key=True),
    Column("key_id", Text, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("created", Text, nullable=False),
)

locks = Table(
    "locks",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("job", LargeBinary, nullable=False),
    Column("created", Text, nullable=False),
)

policies = Table(
    "policies",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("digest", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("created", Text, nullable=False),
    UniqueConstraint("digest"),
    sqlite_autoincrement=True,
)

grants = Table(
    "grants",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("key", Text, ForeignKey("keys.name"), nullable=False),
    Column("lock", Text, ForeignKey("locks.digest"), nullable=False),
    Column("policy", Integer, ForeignKey("policies.id"), nullable=False),
    Column("created", Text, nullable=False),
    Column("revoked", Text),
    Index("active_grants", "key", "lock", "revoked"),
    sqlite_autoincrement=True,
)

# By key id, not by name: the same key imported under another name is the same key.
simulated_releases = Table(
    "simulated_releases",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("first", Text, nullable=False),
)

log = Table(
    "log",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("time", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("lock", Text, nullable=False),
    Column("policy", Integer, nullable=False),
    Column("code", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("previous", Text, nullable=False),
    Column("digest", Text, nullable=False),
)

APPEND_ONLY = tuple(
    f"CREATE TRIGGER IF NOT EXISTS {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
    f"BEGIN SELECT RAISE(ABORT, 'the {table} table is append-only'); END"
    for table in ("log", "simulated_releases")
    for verb in ("UPDATE", "DELETE")
)
