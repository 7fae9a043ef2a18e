"""The simulated attester: one lock per boot; detection of real TEEs; what it costs to import."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import lanthorn
from lanthorn.attestation.attester import detect
from lanthorn.attestation.attester.simulated import SimulatedTDX
from lanthorn.attestation.evidence import Evidence, extend, rtmr3_for_lock
from lanthorn.attestation.simulator.platform import SimulatedPlatform
from lanthorn.attestation.verifier import dcap
from lanthorn.errors import EvidenceUnavailableError, FormatError, RuntimeSetupError, StorageError, UsageError

from .conftest import NOW, REPORT_DATA, Bench

LOCK, OTHER_LOCK = b"\x11" * 32, b"\x22" * 32


def attester(bench: Bench) -> SimulatedTDX:
    return SimulatedTDX(bench.platform.folder, now=lambda: NOW)


def rtmr3(bench: Bench, evidence: Evidence) -> bytes:
    claims = dcap.verify(evidence, bench.collateral(), anchors=[bench.anchor], now=NOW)
    assert claims.tdx is not None
    return claims.tdx.rtmrs[3]


def test_bound_once_per_boot(bench: Bench) -> None:
    assert rtmr3(bench, attester(bench).attest(REPORT_DATA)) == bytes(48)
    for _ in range(3):
        attester(bench).bind(LOCK)
        assert rtmr3(bench, attester(bench).attest(REPORT_DATA)) == rtmr3_for_lock(LOCK)


def test_another_lock_needs_a_reboot(bench: Bench) -> None:
    attester(bench).bind(LOCK)
    with pytest.raises(RuntimeSetupError, match="already runs another lock") as caught:
        attester(bench).bind(OTHER_LOCK)
    assert caught.value.hint and "lanthorn simulator reboot" in caught.value.hint
    assert bench.platform.state().rtmr3 == rtmr3_for_lock(LOCK)
    assert bench.platform.reboot().boot_count == 2
    attester(bench).bind(OTHER_LOCK)
    assert rtmr3(bench, attester(bench).attest(REPORT_DATA)) == rtmr3_for_lock(OTHER_LOCK)


def test_a_register_that_something_else_extended_is_refused(bench: Bench) -> None:
    with bench.platform.registers() as registers:
        registers.extend_rtmr3(b"\x33" * 48)
    assert bench.platform.state().rtmr3 == extend(bytes(48), b"\x33" * 48)
    with pytest.raises(RuntimeSetupError):
        attester(bench).bind(LOCK)


def test_settings_leave_registers_alone(bench: Bench) -> None:
    attester(bench).bind(LOCK)
    bench.platform.configure(now=NOW, tcb="OutOfDate")
    assert bench.platform.state().rtmr3 == rtmr3_for_lock(LOCK)


def test_concurrent_runs_bind_one_lock(bench: Bench) -> None:
    outcomes: list[bytes] = []

    def run(lock: bytes) -> None:
        try:
            attester(bench).bind(lock)
            outcomes.append(lock)
        except RuntimeSetupError:
            pass

    threads = [threading.Thread(target=run, args=(bytes([n % 4]) * 32,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(outcomes)) == 1 and len(outcomes) == 4
    assert bench.platform.state().rtmr3 == rtmr3_for_lock(outcomes[0])


@pytest.mark.parametrize("size", [0, 63, 65])
def test_report_data_size(bench: Bench, size: int) -> None:
    with pytest.raises(UsageError, match="expected 64 bytes"):
        attester(bench).attest(bytes(size))


def test_no_platform(tmp_path: Path) -> None:
    missing = SimulatedTDX(tmp_path / "none")
    for action in (lambda: missing.bind(LOCK), lambda: missing.attest(REPORT_DATA)):
        with pytest.raises(EvidenceUnavailableError) as caught:
            action()
        assert caught.value.hint == "make one: lanthorn simulator init"
    assert not (tmp_path / "none").exists()


def test_a_platform_is_made_once(bench: Bench) -> None:
    before = bench.platform.root_path.read_bytes()
    with pytest.raises(StorageError, match="a simulated platform exists"):
        SimulatedPlatform.create(bench.platform.folder, now=NOW)
    assert bench.platform.root_path.read_bytes() == before


def test_private_keys_are_the_owners_only(bench: Bench) -> None:
    assert (bench.platform.folder / "keys.json").stat().st_mode & 0o777 == 0o600
    scalars = json.loads((bench.platform.folder / "keys.json").read_text()).values()
    published = "".join(
        path.read_text() for path in bench.platform.folder.glob("*.[jp][se]*") if path.name != "keys.json"
    )
    assert published and not any(scalar in published for scalar in scalars)


@pytest.mark.parametrize("name", ["platform.json", "keys.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"version":2}'])
def test_damaged_folder(bench: Bench, name: str, content: bytes) -> None:
    (bench.platform.folder / name).write_bytes(content)
    with pytest.raises(FormatError):
        attester(bench).attest(REPORT_DATA)


def test_detect_looks_for_interfaces(tmp_path: Path) -> None:
    assert detect(tmp_path) == ()
    (tmp_path / "sys/kernel/config/tsm/report").mkdir(parents=True)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/tdx_guest").touch()
    assert set(detect(tmp_path)) == {"tdx", "tsm"}
    (tmp_path / "dev/sev-guest").touch()
    (tmp_path / "dev/attestation").mkdir()
    (tmp_path / "dev/attestation/quote").touch()
    assert set(detect(tmp_path)) == {"sgx", "tdx", "snp", "tsm"}


HEAVY = ("pydantic", "httpx", "sqlalchemy", "starlette", "rich", "asyncio", "cryptography.x509", "email")


def test_the_run_path_imports_little(bench: Bench) -> None:
    """`lanthorn run` pays for these imports every time."""
    program = (
        "import sys; from datetime import UTC, datetime; from pathlib import Path\n"
        "from lanthorn.attestation.attester.simulated import SimulatedTDX\n"
        f"now = datetime.fromtimestamp({NOW.timestamp()}, UTC)\n"
        f"attester = SimulatedTDX(Path({str(bench.platform.folder)!r}), now=lambda: now)\n"
        "attester.bind(bytes(32)); attester.attest(bytes(64))\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]", out.stdout


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize(
    ("part", "never"),
    [
        (
            "attestation/verifier",
            ("attestation.attester", "attestation.simulator", "appraisal", "broker", "cli"),
        ),
        ("attestation/attester", ("attestation.verifier", "appraisal", "broker", "cli")),
        (
            "attestation/simulator",
            ("attestation.verifier", "attestation.attester", "appraisal", "broker", "cli"),
        ),
        ("appraisal", ("attestation.attester", "attestation.simulator", "broker", "cli", "release", "job")),
    ],
)
def test_arrows(part: str, never: tuple[str, ...]) -> None:
    root = Path(lanthorn.__file__).parent
    files = list((root / part).rglob("*.py"))
    assert files
    for path in files:
        wrong = [name for name in imported(path) for each in never if name.startswith(f"lanthorn.{each}")]
        assert not wrong, f"{path.relative_to(root)} imports {wrong}"
