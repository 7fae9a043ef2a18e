"""The release log: every decision with its reason, each row holding the digest of the one before.

`verify_chain` finds a row that was edited, removed from the middle or inserted. It does not exclude that the
end was cut off or that the whole log was written anew: compare the head it returns with one noted earlier.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lanthorn.canonical import canonical_json, labelled_sha256
from lanthorn.errors import IntegrityError

LABEL = "lanthorn-release-log-v1"
GENESIS = "0" * 64
MAX_DETAIL = 64 * 1024

INITIALISED = "initialised"
KEY_IMPORTED = "key-imported"
GRANTED = "granted"
REVOKED = "revoked"
ADMITTED = "admitted"
REFUSED = "refused"
RELEASED = "released"


@dataclass(frozen=True)
class Event:
    """One thing that happened. Empty text and policy 0 mean "does not apply"."""

    event: str
    run_id: str = ""
    key: str = ""
    lock: str = ""
    policy: int = 0
    code: str = ""
    detail: Mapping[str, Any] | None = None

    def columns(self, *, sequence: int, time: str, previous: str) -> dict[str, Any]:
        """Return the row that comes after the row with digest `previous`."""
        row: dict[str, Any] = {**vars(self), "detail": _detail_text(self.detail)}
        row |= {"sequence": sequence, "time": time, "previous": previous}
        return {**row, "digest": row_digest(row)}


def _detail_text(detail: Mapping[str, Any] | None) -> str:
    text = json.dumps(detail or {}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    if len(text) > MAX_DETAIL:
        return json.dumps({"cut": text[:MAX_DETAIL]}, ensure_ascii=False)
    return text


def row_digest(row: Mapping[str, Any]) -> str:
    """Return the digest of a row: of everything in it but the digest itself."""
    content = {name: value for name, value in row.items() if name != "digest"}
    return labelled_sha256(LABEL, canonical_json(content)).hex()


def verify_chain(rows: Iterable[Mapping[str, Any]]) -> tuple[int, str]:
    """Return the number of rows and the head's digest.

    Raises `IntegrityError` naming the first row that is wrong.
    """
    expected, count = GENESIS, 0
    for row in rows:
        count += 1
        if row["sequence"] != count:
            raise IntegrityError(f"release log: expected row {count}, got row {row['sequence']}")
        if row["previous"] != expected:
            raise IntegrityError(
                f"release log: row {count} does not follow: expected {expected}, got {row['previous']}"
            )
        expected = row_digest(row)
        if row["digest"] != expected:
            raise IntegrityError(
                f"release log: row {count} was changed: expected {row['digest']}, got {expected}"
            )
    return count, expected
