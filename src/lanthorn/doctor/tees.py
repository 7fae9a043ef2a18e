"""Devices of trusted execution environments.

A device that is there but closed to this user is reported, and never with a command that opens it: whoever may ask a
TEE for evidence can speak for it, so device permissions are never loosened.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import Final

from lanthorn.doctor.finding import Finding, info, missing, ok
from lanthorn.doctor.machine import Machine

TSM_REPORT: Final = "/sys/kernel/config/tsm/report"
_NEVER_LOOSENED: Final = (
    "run it as root, or as the group that owns the device; device permissions are never loosened"
)


def check_tees(machine: Machine) -> list[Finding]:
    """Say which TEE interfaces this machine has."""
    flags = _cpu_flags(machine)
    return [
        _device(
            machine, "Intel TDX guest", "/dev/tdx_guest", "tdx_guest" in flags, "as root: modprobe tdx_guest"
        ),
        _device(machine, "AMD SEV-SNP guest", "/dev/sev-guest", False, ""),
        _sgx(machine, flags),
        _gramine_attestation(machine),
        _tsm(machine),
    ]


def _cpu_flags(machine: Machine) -> set[str]:
    lines = (machine.read("/proc/cpuinfo") or "").splitlines()
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())


def _device(machine: Machine, name: str, device: str, expected: bool, hint: str) -> Finding:
    if not machine.has(device):
        if expected:
            return missing(name, f"the CPU is one, but {device} does not exist", hint)
        return info(name, f"no {device}")
    reason = machine.open_error(device)
    if reason:
        return missing(name, f"{device}: {reason}", _NEVER_LOOSENED)
    return ok(name, device)


def _sgx(machine: Machine, flags: set[str]) -> Finding:
    if not machine.has("/dev/sgx_enclave") and "sgx" in flags:
        return info(
            "Intel SGX",
            "the CPU has it, but no /dev/sgx_enclave: off in the firmware, or a kernel before 5.11",
        )
    return _device(machine, "Intel SGX", "/dev/sgx_enclave", False, "")


def _gramine_attestation(machine: Machine) -> Finding:
    if machine.has("/dev/attestation/quote"):
        return ok("Gramine enclave", "/dev/attestation/quote")
    return info("Gramine enclave", "no /dev/attestation: this process is not in one")


def _tsm(machine: Machine) -> Finding:
    folder = machine.path(TSM_REPORT)
    if not os.path.isdir(folder):
        return info("configfs TSM", f"no {TSM_REPORT}")
    # The provider is told only inside a report entry, and making one needs no evidence to be made.
    entry = folder / f"lanthorn-doctor-{secrets.token_hex(4)}"
    try:
        os.mkdir(entry)
    except OSError as error:
        return missing("configfs TSM", f"{TSM_REPORT}: {(error.strerror or '').lower()}", _NEVER_LOOSENED)
    try:
        provider = machine.read(f"{TSM_REPORT}/{entry.name}/provider")
    finally:
        with contextlib.suppress(OSError):
            os.rmdir(entry)
    return ok("configfs TSM", f"provider {provider.strip() if provider else 'unknown'}")
