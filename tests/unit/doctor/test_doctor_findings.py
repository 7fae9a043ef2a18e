"""Every check of the doctor, on machines that are folders."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

import lanthorn
from lanthorn.doctor import Diagnosis, Finding, Machine, Outcome, State, diagnose
from lanthorn.doctor.native import SONAMES, apparmor_command

PROGRAMS = {"bwrap": "/usr/bin/bwrap", "fusermount3": "/usr/bin/fusermount3"}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """An ordinary machine without a TEE on which everything works."""
    write(tmp_path, "/dev/fuse")
    write(tmp_path, "/proc/sys/user/max_user_namespaces", "15000\n")
    write(tmp_path, "/proc/sys/kernel/core_pattern", "core\n")
    write(tmp_path, "/proc/swaps", "Filename Type Size Used Priority\n")
    write(tmp_path, "/proc/cpuinfo", "processor : 0\nflags : fpu aes\n")
    return Machine(
        root=tmp_path,
        uid=1000,
        which=PROGRAMS.get,
        run=lambda command: Outcome(True, "bubblewrap 0.8.0"),
        loads=lambda soname: soname == SONAMES[1],
        user_namespace=lambda: Outcome(True, "entered"),
        trial=lambda: Outcome(True, "read"),
    )


def write(root: Path, name: str, text: str = "") -> None:
    path = root / name.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def found(diagnosis: Diagnosis, name: str) -> Finding:
    (finding,) = [each for each in diagnosis.findings if each.name == name]
    return finding


def test_a_good_machine_is_ready_and_not_protected(machine: Machine) -> None:
    diagnosis = diagnose(machine)
    assert diagnosis.ready and not diagnosis.blockers
    assert [each.name for each in diagnosis.findings if each.state is State.MISSING] == []
    assert diagnosis.verdict.startswith("target: native, simulated: NOT PROTECTED")
    assert found(diagnosis, "bubblewrap").detail == "0.8.0, /usr/bin/bwrap"


REFUSED = Outcome(False, "unshare: operation not permitted")
BROKEN = {
    "no bwrap": ({"which": lambda name: None}, "bubblewrap", "apt-get install bubblewrap"),
    "old bwrap": (
        {"run": lambda command: Outcome(True, "bubblewrap 0.4.1")},
        "bubblewrap",
        "apt-get install bubblewrap",
    ),
    "odd bwrap": (
        {"run": lambda command: Outcome(True, "hello")},
        "bubblewrap",
        "apt-get install bubblewrap",
    ),
    "failing bwrap": (
        {"run": lambda command: Outcome(False, "bubblewrap 0.8.0")},
        "bubblewrap",
        "apt-get install bubblewrap",
    ),
    "no libfuse": ({"loads": lambda soname: False}, "libfuse 3", "apt-get install libfuse3-3"),
    "no user namespaces": ({"user_namespace": lambda: REFUSED}, "user namespaces", "run lanthorn as root"),
    "failing trial": (
        {"trial": lambda: Outcome(False, "mount refused")},
        "sandbox over FUSE",
        "--device /dev/fuse",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_missing_blocks_and_has_a_command(machine: Machine, case: str) -> None:
    changes, name, command = BROKEN[case]
    diagnosis = diagnose(dataclasses.replace(machine, **changes))
    finding = found(diagnosis, name)
    assert finding.state is State.MISSING and any(command in hint for hint in finding.hints)
    assert not diagnosis.ready and name in diagnosis.blockers
    assert diagnosis.verdict.startswith("target: none: ") and name in diagnosis.verdict


def test_the_trial_is_not_made_without_its_parts(machine: Machine) -> None:
    def never() -> Outcome:
        raise AssertionError("tried")

    diagnosis = diagnose(dataclasses.replace(machine, loads=lambda soname: False, trial=never))
    assert found(diagnosis, "sandbox over FUSE").detail == "not tried: libfuse 3 missing"


def test_fuse_device_missing_or_closed(machine: Machine) -> None:
    device = machine.path("/dev/fuse")
    device.unlink()
    assert any("modprobe fuse" in hint for hint in found(diagnose(machine), "FUSE device").hints)
    device.mkdir()  # cannot be opened for writing, not even by root
    finding = found(diagnose(machine), "FUSE device")
    assert finding.blocks and finding.detail == "/dev/fuse: is a directory"


def test_fusermount_alone_does_not_block(machine: Machine) -> None:
    diagnosis = diagnose(dataclasses.replace(machine, which={"bwrap": "/usr/bin/bwrap"}.get))
    assert found(diagnosis, "fusermount3").state is State.MISSING and diagnosis.ready


@pytest.mark.parametrize(
    ("file", "value", "command"),
    [
        ("/proc/sys/user/max_user_namespaces", "0\n", "sysctl -w user.max_user_namespaces=15000"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0\n", "sysctl -w kernel.unprivileged_userns_clone=1"),
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n", "apparmor_parser -r"),
    ],
)
def test_why_user_namespaces_are_refused(machine: Machine, file: str, value: str, command: str) -> None:
    refused = dataclasses.replace(machine, user_namespace=lambda: REFUSED)
    assert not any(command in hint for hint in found(diagnose(refused), "user namespaces").hints)
    write(machine.root, file, value)
    assert any(command in hint for hint in found(diagnose(refused), "user namespaces").hints)


def test_root_needs_no_user_namespace(machine: Machine) -> None:
    diagnosis = diagnose(dataclasses.replace(machine, uid=0, user_namespace=lambda: REFUSED))
    assert found(diagnosis, "user namespaces").state is State.INFO and diagnosis.ready


def test_the_apparmor_profile_is_for_two_programs_only() -> None:
    command = apparmor_command(Path("/usr/bin/python3.12"))
    assert re.findall(r"profile \S+ (\S+) flags=\(unconfined\) { userns, }", command) == [
        "/usr/bin/bwrap",
        "/usr/bin/python3.12",
    ]


DEVICES = {
    "/dev/tdx_guest": ("Intel TDX guest", "tdx"),
    "/dev/sev-guest": ("AMD SEV-SNP guest", "snp"),
    "/dev/attestation/quote": ("Gramine enclave", "sgx"),
}


@pytest.mark.parametrize("device", DEVICES)
def test_a_tee_is_seen_and_nothing_runs_there(machine: Machine, device: str) -> None:
    name, tee = DEVICES[device]
    assert found(diagnose(machine), name).state is State.INFO
    write(machine.root, device)
    diagnosis = diagnose(machine)
    assert found(diagnosis, name).state is State.OK
    assert diagnosis.tees == (tee,) and not diagnosis.ready and not diagnosis.blockers
    assert tee in diagnosis.verdict and "cannot make yet" in diagnosis.verdict


@pytest.mark.parametrize("device", ["/dev/tdx_guest", "/dev/sev-guest", "/dev/sgx_enclave"])
def test_a_closed_device_is_never_opened_up(machine: Machine, device: str) -> None:
    machine.path(device).mkdir(parents=True)
    (finding,) = [each for each in diagnose(machine).findings if device in each.detail]
    assert finding.state is State.MISSING
    assert finding.hints == (
        "run it as root, or as the group that owns the device; device permissions are never loosened",
    )


def test_a_tdx_guest_without_its_driver(machine: Machine) -> None:
    write(machine.root, "/proc/cpuinfo", "flags : fpu tdx_guest\n")
    assert found(diagnose(machine), "Intel TDX guest").hints == ("as root: modprobe tdx_guest",)


def test_sgx_that_the_firmware_keeps(machine: Machine) -> None:
    write(machine.root, "/proc/cpuinfo", "flags : sgx sgx_lc\n")
    assert "firmware" in found(diagnose(machine), "Intel SGX").detail


def test_tsm_leaves_no_entry_behind(machine: Machine) -> None:
    folder = machine.path("/sys/kernel/config/tsm/report")
    folder.mkdir(parents=True)
    diagnosis = diagnose(machine)
    assert found(diagnosis, "configfs TSM").detail == "provider unknown"
    assert list(folder.iterdir()) == [] and diagnosis.tees == ("tsm",)


def test_where_plaintext_could_go(machine: Machine) -> None:
    write(machine.root, "/proc/sys/kernel/core_pattern", "|/usr/lib/systemd/systemd-coredump %P\n")
    write(machine.root, "/proc/swaps", "Filename Type\n/dev/sda2 partition 1 0 -2\n")
    diagnosis = diagnose(machine)
    assert "/usr/lib/systemd/systemd-coredump" in found(diagnosis, "core dumps").detail
    assert "/dev/sda2" in found(diagnosis, "swap").detail
    assert diagnosis.ready


def test_an_empty_root_is_a_diagnosis_too(machine: Machine, tmp_path: Path) -> None:
    assert "FUSE device" in diagnose(dataclasses.replace(machine, root=tmp_path / "nothing")).blockers


def test_sonames_are_those_of_the_runtime() -> None:
    # Read, not imported: on a machine without libfuse the runtime's module cannot be.
    sources = [path.read_text() for path in (Path(lanthorn.__file__).parent / "targets/native").glob("*.py")]
    line = f"_SONAMES = {SONAMES!r}".replace("'", '"')
    assert sum(line in source for source in sources) == 1
