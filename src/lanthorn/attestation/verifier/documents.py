"""TCB info and QE identity: what the vendor says of security versions, as typed values.

Source: Intel PCS API v4, "TCB info" (version 3) and "enclave identity" (version 2). Callers check the
signature over the text before they parse it, so members added later by the vendor are let through; the ones
read here must have their exact types.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from lanthorn.attestation.verifier.collateral import strict_json_object
from lanthorn.attestation.verifier.sgx_extension import COMPONENTS
from lanthorn.errors import FormatError

# From best to worst (Intel PCS API, tcbStatus).
STATUSES = (
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "Revoked",
)
MAX_LEVELS = 256
MAX_ADVISORIES = 256


@dataclass(frozen=True)
class Level:
    """One TCB level: the versions it asks for, and what a platform that has them is worth."""

    svns: tuple[int, ...]
    pce_svn: int
    tdx_svns: tuple[int, ...]
    status: str
    tcb_date: str
    advisories: tuple[str, ...]


@dataclass(frozen=True)
class ModuleIdentity:
    id: str
    mrsigner: bytes
    attributes: bytes
    attributes_mask: bytes
    levels: tuple[Level, ...]


@dataclass(frozen=True)
class TCBInfo:
    id: str
    issue_date: datetime
    next_update: datetime
    fmspc: bytes
    pce_id: bytes
    evaluation_data_number: int
    levels: tuple[Level, ...]
    component_names: tuple[str, ...]
    tdx_component_names: tuple[str, ...]
    module: ModuleIdentity | None
    module_identities: tuple[ModuleIdentity, ...]


@dataclass(frozen=True)
class QEIdentity:
    id: str
    issue_date: datetime
    next_update: datetime
    evaluation_data_number: int
    misc_select: int
    misc_select_mask: int
    attributes: bytes
    attributes_mask: bytes
    mrsigner: bytes
    isv_prod_id: int
    levels: tuple[Level, ...]


class _Table:
    """A JSON object whose members are read with their types; errors name the member."""

    def __init__(self, members: object, what: str) -> None:
        if not isinstance(members, dict):
            raise FormatError(f"{what}: expected an object")
        self._members: dict[str, Any] = members
        self._what = what

    def _get(self, name: str, kind: type, expected: str) -> Any:  # noqa: ANN401 - of type `kind`
        value = self._members.get(name)
        if type(value) is not kind:
            raise FormatError(f"{self._what}: {name}: expected {expected}")
        return value

    def text(self, name: str) -> str:
        value: str = self._get(name, str, "text")
        return value

    def number(self, name: str, limit: int) -> int:
        value: int = self._get(name, int, "a number")
        if not 0 <= value <= limit:
            raise FormatError(f"{self._what}: {name}: expected 0 to {limit}, got {value}")
        return value

    def octets(self, name: str, size: int) -> bytes:
        text = self.text(name)
        try:
            value = bytes.fromhex(text)
        except ValueError:
            value = b""
        if len(value) != size or len(text) != 2 * size:
            raise FormatError(f"{self._what}: {name}: expected {size} bytes in hex")
        return value

    def moment(self, name: str) -> datetime:
        try:
            return datetime.strptime(self.text(name), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        except ValueError as error:
            raise FormatError(f"{self._what}: {name}: expected a time like 2026-01-31T12:00:00Z") from error

    def rows(self, name: str, limit: int = MAX_LEVELS) -> list[_Table]:
        rows = self._get(name, list, "a list")
        if len(rows) > limit:
            raise FormatError(f"{self._what}: {name}: expected at most {limit} entries, got {len(rows)}")
        return [_Table(row, f"{self._what}: {name}[{index}]") for index, row in enumerate(rows)]

    def table(self, name: str) -> _Table:
        return _Table(self._members.get(name), f"{self._what}: {name}")

    def has(self, name: str) -> bool:
        return name in self._members

    def advisories(self) -> tuple[str, ...]:
        names = self._members.get("advisoryIDs", [])
        if not isinstance(names, list) or len(names) > MAX_ADVISORIES:
            raise FormatError(f"{self._what}: advisoryIDs: expected a list of at most {MAX_ADVISORIES}")
        if not all(isinstance(name, str) for name in names):
            raise FormatError(f"{self._what}: advisoryIDs: expected texts")
        return tuple(names)

    def status(self) -> str:
        value = self.text("tcbStatus")
        if value not in STATUSES:
            raise FormatError(f"{self._what}: unknown tcbStatus {value[:40]!r}")
        return value


@lru_cache(maxsize=32)
def parse_tcb_info(text: str) -> TCBInfo:
    """Read a TCB info of version 3. Raises `FormatError` for another version or an ill-typed member."""
    info = _Table(strict_json_object(text, "tcb info"), "tcb info")
    _expect(info.number("version", 255), 3, "tcb info version")
    _expect(info.number("tcbType", 255), 0, "tcb info tcbType")
    tee = info.text("id")
    levels = _sorted(info.rows("tcbLevels"), lambda row: _platform_level(row, tdx=tee == "TDX"), "tcb info")
    first = info.rows("tcbLevels")[0].table("tcb")
    return TCBInfo(
        id=tee,
        issue_date=info.moment("issueDate"),
        next_update=info.moment("nextUpdate"),
        fmspc=info.octets("fmspc", 6),
        pce_id=info.octets("pceId", 2),
        evaluation_data_number=info.number("tcbEvaluationDataNumber", 1 << 31),
        levels=levels,
        component_names=_component_names(first.rows("sgxtcbcomponents"), "SGX"),
        tdx_component_names=_component_names(first.rows("tdxtcbcomponents"), "TDX") if tee == "TDX" else (),
        module=_module(info.table("tdxModule"), None) if tee == "TDX" else None,
        module_identities=tuple(_module(row, row.text("id")) for row in info.rows("tdxModuleIdentities"))
        if info.has("tdxModuleIdentities")
        else (),
    )


@lru_cache(maxsize=32)
def parse_qe_identity(text: str) -> QEIdentity:
    """Read a QE identity of version 2. Raises `FormatError` for another version or an ill-typed member."""
    identity = _Table(strict_json_object(text, "qe identity"), "qe identity")
    _expect(identity.number("version", 255), 2, "qe identity version")
    return QEIdentity(
        id=identity.text("id"),
        issue_date=identity.moment("issueDate"),
        next_update=identity.moment("nextUpdate"),
        evaluation_data_number=identity.number("tcbEvaluationDataNumber", 1 << 31),
        misc_select=int.from_bytes(identity.octets("miscselect", 4), "little"),
        misc_select_mask=int.from_bytes(identity.octets("miscselectMask", 4), "little"),
        attributes=identity.octets("attributes", 16),
        attributes_mask=identity.octets("attributesMask", 16),
        mrsigner=identity.octets("mrsigner", 32),
        isv_prod_id=identity.number("isvprodid", 0xFFFF),
        levels=_sorted(identity.rows("tcbLevels"), _isv_level, "qe identity"),
    )


def _expect(found: int, expected: int, what: str) -> None:
    if found != expected:
        raise FormatError(f"{what}: expected {expected}, got {found}")


def _sorted(rows: list[_Table], read: Callable[[_Table], Level], what: str) -> tuple[Level, ...]:
    """Order levels from newest to oldest, as Intel's library does, whatever order the text has."""
    if not rows:
        raise FormatError(f"{what}: no tcb levels")
    return tuple(
        sorted(map(read, rows), key=lambda level: (level.svns, level.pce_svn, level.tdx_svns), reverse=True)
    )


def _platform_level(row: _Table, *, tdx: bool) -> Level:
    tcb = row.table("tcb")
    return Level(
        svns=_svns(tcb.rows("sgxtcbcomponents")),
        pce_svn=tcb.number("pcesvn", 0xFFFF),
        tdx_svns=_svns(tcb.rows("tdxtcbcomponents")) if tdx else (),
        status=row.status(),
        tcb_date=row.text("tcbDate"),
        advisories=row.advisories(),
    )


def _isv_level(row: _Table) -> Level:
    svn = row.table("tcb").number("isvsvn", 0xFFFF)
    return Level((svn,), 0, (), row.status(), row.text("tcbDate"), row.advisories())


def _svns(rows: list[_Table]) -> tuple[int, ...]:
    if len(rows) != COMPONENTS:
        raise FormatError(f"tcb info: expected {COMPONENTS} components, got {len(rows)}")
    return tuple(row.number("svn", 0xFF) for row in rows)


def _component_names(rows: list[_Table], tee: str) -> tuple[str, ...]:
    return tuple(
        f"{tee} component {number}" + (f" ({row.text('type')})" if row.has("type") else "")
        for number, row in enumerate(rows, 1)
    )


def _module(table: _Table, name: str | None) -> ModuleIdentity:
    return ModuleIdentity(
        id=name or "",
        mrsigner=table.octets("mrsigner", 48),
        attributes=table.octets("attributes", 8),
        attributes_mask=table.octets("attributesMask", 8),
        levels=() if name is None else _sorted(table.rows("tcbLevels"), _isv_level, f"tdx module {name}"),
    )
