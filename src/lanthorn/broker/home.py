"""The broker's folder: what is in it, and its settings file.

broker.toml      settings: address, the switch for simulated platforms
identity.pem     TLS key and certificate                       0600
token.pem        the key that signs attestation tokens         0600
master.key       32 bytes that wrap the owner's keys           0600
broker.sqlite    keys (wrapped), locks, policies, grants, log  0600
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lanthorn.broker.database import Database
from lanthorn.broker.identity import create_identity, identity_pin
from lanthorn.broker.log import INITIALISED, Event
from lanthorn.broker.master import MasterKey
from lanthorn.broker.secret_files import make_private_folder, read_secret, write_secret
from lanthorn.broker.store import Store
from lanthorn.broker.tokens import TokenSigner
from lanthorn.errors import StorageError, UsageError

SETTINGS_VERSION = 1
_HOST_PORT = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]{2,45})\]|(?P<host>[A-Za-z0-9.-]{1,253})):(?P<port>[0-9]{1,5})"
)


@dataclass(frozen=True)
class Address:
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse HOST:PORT or [IPV6]:PORT. Raises `UsageError`."""
        match = _HOST_PORT.fullmatch(text)
        if match is None or int(match["port"]) > 65535:
            raise UsageError(f"not an address (HOST:PORT): {text[:200]}")
        return cls(match["six"] or match["host"], int(match["port"]))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"https://{self}"


@dataclass(frozen=True)
class Settings:
    """`broker.toml`.

    With `simulator` None no simulated evidence is released anything, whatever a policy says.
    """

    address: Address
    insecure_allow_simulated: bool
    simulator: Path | None

    def to_toml(self) -> str:
        import tomli_w

        values: dict[str, object] = {
            "version": SETTINGS_VERSION,
            "address": str(self.address),
            "insecure_allow_simulated": self.insecure_allow_simulated,
        }
        if self.simulator is not None:
            values["simulator"] = str(self.simulator)
        return tomli_w.dumps(values)

    @classmethod
    def parse(cls, text: str, source: Path) -> Settings:
        """Parse `broker.toml`. Raises `UsageError` naming an unknown, missing or wrong setting."""
        try:
            values = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise UsageError(f"{source} is not TOML") from error
        unknown = values.keys() - {"version", "address", "insecure_allow_simulated", "simulator"}
        if unknown:
            raise UsageError(f"{source}: unknown setting {sorted(unknown)[0]}")
        if values.get("version") != SETTINGS_VERSION:
            raise UsageError(f"{source}: expected version {SETTINGS_VERSION}, got {values.get('version')}")
        address, allowed = values.get("address"), values.get("insecure_allow_simulated")
        simulator = values.get("simulator")
        if not isinstance(address, str) or not isinstance(allowed, bool):
            raise UsageError(f"{source}: address and insecure_allow_simulated are needed")
        if simulator is not None and not isinstance(simulator, str):
            raise UsageError(f"{source}: simulator is not a path")
        return cls(Address.parse(address), allowed, Path(simulator) if simulator else None)


class BrokerHome:
    """A broker's folder on its owner's machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings_file = folder / "broker.toml"
        self.identity_file = folder / "identity.pem"
        self.token_file = folder / "token.pem"
        self.master_file = folder / "master.key"
        self.database_file = folder / "broker.sqlite"

    def create(self, settings: Settings) -> None:
        """Make everything. Raises `StorageError` if a broker lives here: its keys are never replaced."""
        if self.settings_file.exists():
            raise StorageError(f"there is a broker in {self.folder} already")
        if self.master_file.exists():
            raise StorageError(
                f"{self.folder} is left of a broker that was not finished, or lost its broker.toml",
                hint="choose another --folder, or remove this one if it holds no keys that you need",
            )
        make_private_folder(self.folder)
        MasterKey.create(self.master_file)
        TokenSigner.create(self.token_file)
        create_identity(self.identity_file, now=datetime.now(UTC))
        with Store(Database.create(self.database_file), self._master(), clock=wall_clock) as store:
            store.append(Event(INITIALISED, detail={"spki": self.pin()}))
        # Last: a folder without settings is not a broker yet.
        write_secret(self.settings_file, settings.to_toml().encode("utf-8"))

    def settings(self) -> Settings:
        if not self.settings_file.exists():
            raise StorageError(f"no broker in {self.folder}", hint="make one with: lanthorn broker init")
        try:
            text = read_secret(self.settings_file).decode("utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(f"{self.settings_file} is not UTF-8") from error
        return Settings.parse(text, self.settings_file)

    def pin(self) -> str:
        return identity_pin(self.identity_file)

    def open_store(self) -> Store:
        return Store(Database(self.database_file), self._master(), clock=wall_clock)

    def tokens(self) -> TokenSigner:
        return TokenSigner.load(self.token_file)

    def _master(self) -> MasterKey:
        return MasterKey.load(self.master_file)


def wall_clock() -> datetime:
    return datetime.now(UTC)
