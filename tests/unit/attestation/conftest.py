"""One simulated vendor for the whole session: tests copy its folder before they change it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lanthorn.attestation.claims import Claims
from lanthorn.attestation.evidence import Evidence
from lanthorn.attestation.simulator.platform import SimulatedPlatform
from lanthorn.attestation.verifier import dcap
from lanthorn.attestation.verifier.collateral import Collateral
from lanthorn.attestation.verifier.roots import TrustAnchor, simulated_anchor

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
REPORT_DATA = bytes(range(64))
MRENCLAVE = b"\x5e" * 32


@dataclass
class Bench:
    """A platform with its verifier beside it."""

    platform: SimulatedPlatform
    anchor: TrustAnchor

    def evidence(self, tee: str = "tdx") -> Evidence:
        if tee == "tdx":
            return Evidence("tdx", self.platform.tdx_quote(REPORT_DATA, now=NOW))
        return Evidence("sgx", self.platform.sgx_quote(REPORT_DATA, now=NOW, mrenclave=MRENCLAVE))

    def collateral_text(self, tee: str = "tdx") -> str:
        return self.platform.collateral_path(tee).read_text()

    def collateral(self, tee: str = "tdx") -> Collateral:
        return Collateral.from_json(self.collateral_text(tee))

    def verify(self, tee: str = "tdx", *, now: datetime = NOW) -> Claims:
        return dcap.verify(self.evidence(tee), self.collateral(tee), anchors=[self.anchor], now=now)


@pytest.fixture(scope="session")
def vendor_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vendor") / "simulator"
    SimulatedPlatform.create(folder, now=NOW)
    return folder


@pytest.fixture
def bench(vendor_folder: Path, tmp_path: Path) -> Bench:
    folder = tmp_path / "simulator"
    shutil.copytree(vendor_folder, folder)
    platform = SimulatedPlatform(folder)
    return Bench(platform, simulated_anchor("sim", platform.root_path.read_bytes()))
