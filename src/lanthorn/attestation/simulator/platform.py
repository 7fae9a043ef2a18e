"""The simulated platform: one folder with a vendor, one machine's registers, and what was set about it.

In the folder: `root.pem`, `collateral.json` and `collateral-sgx.json` are what the vendor publishes;
`platform.json` is the machine (registers survive runs until a reboot); `keys.json` is private. Every change
happens under an exclusive lock on `lock`, and every file appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lanthorn.attestation.evidence import REGISTER_SIZE, REPORT_DATA_SIZE, extend
from lanthorn.attestation.simulator import quotes
from lanthorn.attestation.simulator.keys import VendorKeys
from lanthorn.attestation.simulator.settings import Settings, parse_settings
from lanthorn.errors import EvidenceUnavailableError, FormatError, StorageError, UsageError
from lanthorn.storage import read_limited, storage_errors, write_atomically

MAX_STATE_SIZE = 16 * 1024
MAX_CHAIN_SIZE = 64 * 1024
REISSUE_BEFORE = timedelta(days=1)
COLLATERAL_FILES = {"tdx": "collateral.json", "sgx": "collateral-sgx.json"}

MRTD = hashlib.sha384(b"lanthorn-simulated-mrtd").digest()
BOOT_RTMRS = tuple(
    extend(bytes(REGISTER_SIZE), hashlib.sha384(f"lanthorn-simulated-rtmr{index}".encode()).digest())
    for index in range(3)
)


@dataclass(frozen=True)
class PlatformState:
    """The machine since its last boot. `rtmr3` is all zero until something is extended."""

    settings: Settings
    rtmr3: bytes
    boot_count: int
    collateral_issued: datetime
    collateral_expires: datetime

    @property
    def rtmrs(self) -> tuple[bytes, ...]:
        return (*BOOT_RTMRS, self.rtmr3)

    def to_json(self) -> bytes:
        members = {
            "version": 1,
            "settings": dataclasses.asdict(self.settings),
            "rtmr3": self.rtmr3.hex(),
            "boot_count": self.boot_count,
            "collateral_issued": int(self.collateral_issued.timestamp()),
            "collateral_expires": int(self.collateral_expires.timestamp()),
        }
        return json.dumps(members, indent=1).encode() + b"\n"


def parse_state(data: bytes) -> PlatformState:
    """Read `platform.json`. Raises `FormatError`."""
    try:
        members = json.loads(data)
        if members["version"] != 1:
            raise FormatError(f"simulated platform: expected version 1, got {members['version']!r}")
        register = bytes.fromhex(members["rtmr3"])
        if len(register) != REGISTER_SIZE:
            raise FormatError(f"simulated platform: rtmr3: expected {REGISTER_SIZE} bytes")
        return PlatformState(
            settings=parse_settings(members["settings"]),
            rtmr3=register,
            boot_count=int(members["boot_count"]),
            collateral_issued=datetime.fromtimestamp(members["collateral_issued"], UTC),
            collateral_expires=datetime.fromtimestamp(members["collateral_expires"], UTC),
        )
    except (ValueError, KeyError, TypeError, OverflowError, OSError, RecursionError) as error:
        raise FormatError(f"simulated platform: malformed platform.json ({type(error).__name__})") from error


class SimulatedPlatform:
    """A machine in a folder. Times are arguments, so tests choose them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root_path = folder / "root.pem"

    @classmethod
    def create(cls, folder: Path, *, now: datetime) -> SimulatedPlatform:
        """Make a vendor and a platform in good order. Raises `StorageError` if the folder has one already."""
        from lanthorn.attestation.simulator import vendor

        platform = cls(folder)
        with storage_errors("make simulated platform in", folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with platform._locked(create=True):
            if platform._path("platform.json").exists():
                hint = "use lanthorn simulator set or reboot, or another folder"
                raise StorageError(f"a simulated platform exists: {folder}", hint=hint)
            keys = VendorKeys.generate()
            keys.save(platform._path("keys.json"))
            settings = Settings()
            platform._publish(vendor.issue_certificates(keys, settings.tcb, now), keys, settings, now)
            start, end = vendor.collateral_window(settings, now)
            platform._store(PlatformState(settings, bytes(REGISTER_SIZE), 1, start, end))
        return platform

    def collateral_path(self, tee: str = "tdx") -> Path:
        """Return where the vendor's collateral for `tee` is published."""
        return self.folder / COLLATERAL_FILES[tee]

    def state(self) -> PlatformState:
        """Read the machine's state. Raises `EvidenceUnavailableError` if there is none in the folder."""
        path = self._path("platform.json")
        if not path.exists():
            raise EvidenceUnavailableError(
                f"no simulated platform in {self.folder}", hint="make one: lanthorn simulator init"
            )
        return parse_state(read_limited(path, MAX_STATE_SIZE))

    def configure(self, *, now: datetime, **changes: Any) -> PlatformState:  # noqa: ANN401 - see Settings
        """Change settings and publish what follows from them. Registers stay. Raises `UsageError`."""
        with self._locked():
            state = self.state()
            return self._reissue(state, state.settings.changed(changes), now, new_pck="tcb" in changes)

    def refresh(self, *, now: datetime) -> PlatformState:
        """Publish new collateral if the published runs out within a day or is not valid yet."""
        with self._locked():
            return self._refreshed(self.state(), now)

    def reboot(self) -> PlatformState:
        """Start over with empty registers."""
        with self._locked():
            state = self.state()
            return self._store(
                dataclasses.replace(state, rtmr3=bytes(REGISTER_SIZE), boot_count=state.boot_count + 1)
            )

    @contextlib.contextmanager
    def registers(self) -> Iterator[Registers]:
        """Hold the machine while something looks at its registers and extends them."""
        with self._locked():
            yield Registers(self)

    def tdx_quote(self, report_data: bytes, *, now: datetime) -> bytes:
        """Return a TDX quote over the registers as they are."""
        _check_report_data(report_data)
        state = self.refresh(now=now)
        return self._signer(state).quote(
            "tdx", quotes.td_body(state.settings, MRTD, state.rtmrs, report_data)
        )

    def sgx_quote(
        self, report_data: bytes, *, now: datetime, mrenclave: bytes, mrsigner: bytes = bytes(32)
    ) -> bytes:
        """Return an SGX quote of an enclave that the simulator takes the caller's word for."""
        _check_report_data(report_data)
        state = self.refresh(now=now)
        body = quotes.application_body(state.settings, mrenclave, mrsigner, report_data)
        return self._signer(state).quote("sgx", body)

    def _signer(self, state: PlatformState) -> quotes.Signer:
        chain = read_limited(self._path("pck-chain.pem"), MAX_CHAIN_SIZE)
        return quotes.Signer(VendorKeys.load(self._path("keys.json")), chain, state.settings)

    def _refreshed(self, state: PlatformState, now: datetime) -> PlatformState:
        current = state.collateral_issued <= now < state.collateral_expires - REISSUE_BEFORE
        if current or state.settings.collateral == "expired":
            return state
        return self._reissue(state, state.settings, now, new_pck=False)

    def _reissue(
        self, state: PlatformState, settings: Settings, now: datetime, *, new_pck: bool
    ) -> PlatformState:
        from lanthorn.attestation.simulator import vendor

        keys = VendorKeys.load(self._path("keys.json"))
        issued = vendor.VendorCertificates.from_pem(read_limited(self._path("vendor.pem"), MAX_CHAIN_SIZE))
        if new_pck:
            issued = vendor.reissue_pck(issued, keys, settings.tcb, now)
        self._publish(issued, keys, settings, now)
        start, end = vendor.collateral_window(settings, now)
        return self._store(
            dataclasses.replace(state, settings=settings, collateral_issued=start, collateral_expires=end)
        )

    def _publish(self, issued: Any, keys: VendorKeys, settings: Settings, now: datetime) -> None:  # noqa: ANN401
        from lanthorn.attestation.simulator import vendor

        write_atomically(self._path("vendor.pem"), issued.to_pem())
        write_atomically(self._path("pck-chain.pem"), issued.pck_chain)
        write_atomically(self.root_path, vendor.pem(issued.root))
        for tee in COLLATERAL_FILES:
            text = vendor.collateral(tee, issued, keys, settings, now)
            write_atomically(self.collateral_path(tee), text.encode())

    def _store(self, state: PlatformState) -> PlatformState:
        write_atomically(self._path("platform.json"), state.to_json())
        return state

    def _path(self, name: str) -> Path:
        return self.folder / name

    @contextlib.contextmanager
    def _locked(self, *, create: bool = False) -> Iterator[None]:
        if not create:
            self.state()
        with storage_errors("lock", self._path("lock")):
            descriptor = os.open(self._path("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with storage_errors("lock", self._path("lock")):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


class Registers:
    """The machine's runtime register while it is held: see `SimulatedPlatform.registers`."""

    def __init__(self, platform: SimulatedPlatform) -> None:
        self._platform = platform
        self._state = platform.state()

    @property
    def rtmr3(self) -> bytes:
        return self._state.rtmr3

    def extend_rtmr3(self, digest: bytes) -> None:
        """Extend RTMR3 with an event's digest, for good until the next reboot."""
        state = dataclasses.replace(self._state, rtmr3=extend(self._state.rtmr3, digest))
        self._state = self._platform._store(state)


def _check_report_data(report_data: bytes) -> None:
    if len(report_data) != REPORT_DATA_SIZE:
        raise UsageError(f"report data: expected {REPORT_DATA_SIZE} bytes, got {len(report_data)}")
