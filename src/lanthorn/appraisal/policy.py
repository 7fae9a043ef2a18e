"""An appraisal policy: rules and trust anchors, read from TOML.

A policy that names nothing matches nothing; a rule that leaves out what it must say is refused when it is
loaded, as is every key that is not known here. `docs/policy.md` describes the keys.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lanthorn.appraisal.table import Table, parse_toml
from lanthorn.attestation.verifier.documents import STATUSES
from lanthorn.attestation.verifier.roots import INTEL, TrustAnchor, simulated_anchor
from lanthorn.errors import UsageError
from lanthorn.storage import read_limited

POLICY_VERSION = 1
MAX_POLICY_SIZE = 1024 * 1024
MAX_ROOT_SIZE = 16 * 1024
MAX_RULES = 256
MAX_LIST = 1024
TEES = ("sgx", "tdx")
# A revoked TCB level fails verification, so no rule can tolerate it.
ACCEPTABLE_STATUSES = tuple(status for status in STATUSES if status != "Revoked")
MEASUREMENT_SIZE = 48
MRENCLAVE_SIZE = 32
LOCK_SIZE = 32

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")
_HEX = re.compile(r"[0-9a-f]+")
_PEM_START = "-----BEGIN CERTIFICATE-----"
_log = logging.getLogger("lanthorn")

LockReader = Callable[[Path], bytes]


@dataclass(frozen=True)
class PolicyAnchor:
    """A trust anchor as a policy has it: with the file its collateral is read from, and its root in PEM."""

    trust_anchor: TrustAnchor
    root_pem: str | None
    collateral: Path | None


@dataclass(frozen=True)
class Image:
    """The measurements of one guest image: firmware (MRTD) and boot chain (RTMR0 to RTMR2)."""

    mrtd: bytes
    rtmr0: bytes
    rtmr1: bytes
    rtmr2: bytes


@dataclass(frozen=True)
class Rule:
    """What one rule admits. Every list is exhaustive: what it doesn't name is refused."""

    name: str
    locks: tuple[bytes, ...]
    tees: tuple[str, ...]
    anchors: tuple[str, ...]
    tcb_statuses: tuple[str, ...]
    advisories: tuple[str, ...]
    minimum_tcb_evaluation_data_number: int
    mrenclave: tuple[bytes, ...]
    images: tuple[Image, ...]
    insecure_allow_simulated: bool
    insecure_allow_debug: bool


@dataclass(frozen=True)
class AppraisalPolicy:
    """Rules, tried in order, and the anchors they name. Made by `from_toml`."""

    rules: tuple[Rule, ...]
    anchors: tuple[PolicyAnchor, ...]

    @classmethod
    def from_toml(
        cls, text: str, *, folder: Path | None = None, read_lock_digest: LockReader | None = None
    ) -> AppraisalPolicy:
        """Read a policy. Paths in it are relative to `folder`; without one, only absolute paths are allowed.

        `read_lock_digest` turns the path of a lock file into its digest; without it, locks must be digests.
        Raises `UsageError` that names the rule and key, `StorageError` for a root that cannot be read.
        """
        if len(text) > MAX_POLICY_SIZE:
            raise UsageError(f"policy: larger than the limit of {MAX_POLICY_SIZE} characters")
        table = parse_toml(text, "policy")
        version = table.integer("version", default=None)
        if version != POLICY_VERSION:
            raise UsageError(f"policy: version: expected {POLICY_VERSION}, got {version}")
        anchors = _read_anchors(table.table("anchors"), folder)
        kinds = {anchor.trust_anchor.name: anchor.trust_anchor.kind for anchor in anchors}
        rules = tuple(
            _read_rule(row, kinds, _LockResolver(folder, read_lock_digest))
            for row in table.tables("rule", limit=MAX_RULES)
        )
        table.finish()
        names = [rule.name for rule in rules]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"policy: two rules are called {name!r}")
        return cls(rules, anchors)

    @property
    def trust_anchors(self) -> tuple[TrustAnchor, ...]:
        """The anchors to verify with. One that no rule names is left out."""
        named = {name for rule in self.rules for name in rule.anchors}
        return tuple(each.trust_anchor for each in self.anchors if each.trust_anchor.name in named)

    @property
    def locks(self) -> frozenset[bytes]:
        """Every lock digest that some rule names."""
        return frozenset(lock for rule in self.rules for lock in rule.locks)

    def collateral_path(self, anchor: str) -> Path:
        """Return the file that holds an anchor's collateral. Raises `UsageError` if the policy names none."""
        for each in self.anchors:
            if each.trust_anchor.name == anchor and each.collateral is not None:
                return each.collateral
        raise UsageError(f"policy: anchor {anchor!r} has no collateral", hint=f"set it in [anchors.{anchor}]")


def _read_anchors(table: Table, folder: Path | None) -> tuple[PolicyAnchor, ...]:
    anchors = {"intel": PolicyAnchor(INTEL, None, None)}
    for name in table.names():
        row = table.table(name)
        if not _NAME.fullmatch(name):
            raise UsageError(f"policy: anchor {name[:64]!r}: not a valid name")
        anchors[name] = _read_anchor(name, row, folder)
        row.finish()
    return tuple(anchors.values())


def _read_anchor(name: str, row: Table, folder: Path | None) -> PolicyAnchor:
    kind = row.text("kind")
    collateral_text = row.text("collateral", default="")
    collateral = _resolve(collateral_text, folder, f"{row.what}: collateral") if collateral_text else None
    if kind == "intel" and name == "intel":
        return PolicyAnchor(INTEL, None, collateral)
    if kind != "simulated" or name == "intel":
        expected = "intel" if name == "intel" else "simulated"
        raise UsageError(f"{row.what}: kind: expected {expected!r}, got {kind[:40]!r}")
    root = row.text("root")
    if not root.lstrip().startswith(_PEM_START):
        data = read_limited(_resolve(root, folder, f"{row.what}: root"), MAX_ROOT_SIZE)
        root = data.decode("ascii", "replace")
    root = root.strip() + "\n"
    anchor = simulated_anchor(name, root.encode("ascii", "replace"))
    return PolicyAnchor(anchor, root, collateral)


def _resolve(text: str, folder: Path | None, what: str) -> Path:
    path = Path(text)
    if path.is_absolute():
        return path
    if folder is None:
        raise UsageError(f"{what}: expected an absolute path, got {text[:200]!r}")
    return folder.absolute() / path


@dataclass(frozen=True)
class _LockResolver:
    folder: Path | None
    read: LockReader | None

    def resolve(self, text: str, what: str) -> bytes:
        if len(text) == 2 * LOCK_SIZE and _HEX.fullmatch(text):
            return bytes.fromhex(text)
        if self.read is None:
            raise UsageError(f"{what}: expected a lock digest of 64 hex digits, got {text[:200]!r}")
        digest = self.read(_resolve(text, self.folder, what))
        if len(digest) != LOCK_SIZE:
            raise UsageError(f"{what}: expected a digest of {LOCK_SIZE} bytes, got {len(digest)}")
        return digest


def _read_rule(row: Table, kinds: dict[str, str], locks: _LockResolver) -> Rule:
    name = row.text("name")
    if not _NAME.fullmatch(name):
        raise UsageError(f"{row.what}: name: expected letters, digits, space and ._- (at most 64)")
    row.what = f"policy: rule {name!r}"
    rule = Rule(
        name=name,
        locks=tuple(locks.resolve(text, f"{row.what}: locks") for text in row.texts("locks", limit=MAX_LIST)),
        tees=_choices(row, "tees", TEES),
        anchors=_choices(row, "anchors", tuple(kinds)),
        tcb_statuses=_choices(row, "tcb_statuses", ACCEPTABLE_STATUSES),
        advisories=row.texts("advisories", limit=MAX_LIST, optional=True),
        minimum_tcb_evaluation_data_number=row.integer("minimum_tcb_evaluation_data_number", default=0),
        mrenclave=tuple(
            _measurement(text, MRENCLAVE_SIZE, f"{row.what}: mrenclave")
            for text in row.texts("mrenclave", limit=MAX_LIST, optional=True)
        ),
        images=tuple(_read_image(image) for image in row.tables("images", limit=MAX_LIST)),
        insecure_allow_simulated=row.boolean("insecure_allow_simulated"),
        insecure_allow_debug=row.boolean("insecure_allow_debug"),
    )
    row.finish()
    _check_rule(rule, kinds)
    return rule


def _choices(row: Table, name: str, choices: tuple[str, ...]) -> tuple[str, ...]:
    values = row.texts(name, limit=MAX_LIST)
    for value in values:
        if value not in choices:
            raise UsageError(f"{row.what}: {name}: expected one of {', '.join(choices)}, got {value[:64]!r}")
    return values


def _read_image(row: Table) -> Image:
    values = {
        name: _measurement(row.text(name), MEASUREMENT_SIZE, f"{row.what}: {name}")
        for name in ("mrtd", "rtmr0", "rtmr1", "rtmr2")
    }
    row.finish()
    return Image(**values)


def _measurement(text: str, size: int, what: str) -> bytes:
    if len(text) != 2 * size or not _HEX.fullmatch(text):
        raise UsageError(f"{what}: expected {2 * size} lower-case hex digits, got {text[:200]!r}")
    return bytes.fromhex(text)


def _check_rule(rule: Rule, kinds: dict[str, str]) -> None:
    """Refuse rules that say too little or two things at once."""
    what = f"policy: rule {rule.name!r}"
    simulated = {kinds[name] == "simulated" for name in rule.anchors}
    if len(simulated) > 1:
        raise UsageError(f"{what}: anchors: simulated and real ones must not share a rule")
    if rule.minimum_tcb_evaluation_data_number < 0:
        raise UsageError(f"{what}: minimum_tcb_evaluation_data_number: expected 0 or more")
    if "tdx" in rule.tees and simulated == {False} and not rule.images:
        raise UsageError(
            f"{what}: images: a lock without a guest image admits any guest its operator made",
            hint="name the measured images in [[rule.images]]: mrtd, rtmr0, rtmr1, rtmr2",
        )
    if "sgx" in rule.tees:
        if not rule.mrenclave:
            raise UsageError(f"{what}: mrenclave: an sgx rule needs at least one")
        if len(rule.locks) != 1:
            raise UsageError(f"{what}: locks: an sgx rule names exactly one, the one its mrenclave covers")
    elif rule.mrenclave:
        raise UsageError(f"{what}: mrenclave: only for tees = ['sgx']")
    if rule.images and "tdx" not in rule.tees:
        raise UsageError(f"{what}: images: only for tees = ['tdx']")
    for name in ("insecure_allow_simulated", "insecure_allow_debug"):
        if getattr(rule, name):
            _log.warning("%s: %s is set", what, name)
