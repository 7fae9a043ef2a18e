"""Encrypt and decrypt: throughput per core against OpenSSL, and of the command on all cores.

The ratios pair our one-process path with `openssl speed` in the same minute on the same core, and take the
median of the pairs: on a shared machine absolute figures move, ratios much less. It is the path the command
takes, with files in memory (/dev/shm), so that no disk counts; for the ratios their pages exist already.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.figures import Figure, figure
from lanthorn.keys import WrapKey
from lanthorn.protected import FileRange, ProtectedReader
from lanthorn.protected.parallel import decrypt_range, encrypt_range

MEMORY = Path("/dev/shm")
ONE_CORE_BYTES = 128 << 20
COMMAND_BYTES = 2 << 30
RATIO_GOAL = 0.2
COMMAND_GOAL_GBPS = 1.0
PEER_OPENSSL = "openssl speed aes-128-gcm, 4096-byte blocks, one core"
PEER_GRAMINE = "gramine-sgx-pf-crypt 1.9: 0.24 GB/s encrypting, 0.27 decrypting, measured elsewhere"


def run(samples: int) -> list[Figure]:
    """Return the four figures, each the median of `samples`."""
    with TemporaryDirectory(dir=MEMORY) as folder:
        ratios = _ratios(Path(folder), samples)
        commands = _commands(Path(folder), samples)
    return [
        figure("encrypt_vs_openssl", ratios[0], "ratio", f">= {RATIO_GOAL}", PEER_OPENSSL),
        figure("decrypt_vs_openssl", ratios[1], "ratio", f">= {RATIO_GOAL}", PEER_OPENSSL),
        figure("encrypt_two_cores_gbps", commands[0], "GB/s", f">= {COMMAND_GOAL_GBPS}", PEER_GRAMINE),
        figure("decrypt_two_cores_gbps", commands[1], "GB/s", f">= {COMMAND_GOAL_GBPS}", PEER_GRAMINE),
    ]


def _ratios(folder: Path, samples: int) -> tuple[list[float], list[float]]:
    """Pair each of our measurements with one of OpenSSL's, all on one core."""
    plain, store, output = (folder / name for name in ("plain", "store", "output"))
    _fill(plain, ONE_CORE_BYTES)
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        _encrypt(plain, store)
        _decrypt(store, output)
        encrypting, decrypting = [], []
        for _ in range(samples):
            encrypting.append(_rate(lambda: _encrypt(plain, store), ONE_CORE_BYTES) / _openssl())
            decrypting.append(_rate(lambda: _decrypt(store, output), ONE_CORE_BYTES) / _openssl("-decrypt"))
    finally:
        os.sched_setaffinity(0, allowed)
        for path in (plain, store, output):
            path.unlink(missing_ok=True)
    return _rounded(encrypting), _rounded(decrypting)


def _commands(folder: Path, samples: int) -> tuple[list[float], list[float]]:
    """Time the whole command, start-up included, on all cores."""
    plain, store, output, key = (folder / name for name in ("plain", "store", "output", "key"))
    _fill(plain, COMMAND_BYTES)
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(16))
    encrypting, decrypting = [], []
    # One round more than asked: the first one makes the machine's memory pages.
    for _ in range(samples + 1):
        encrypting.append(_rate(lambda: _lanthorn("encrypt", key, plain, store), COMMAND_BYTES))
        decrypting.append(_rate(lambda: _lanthorn("decrypt", key, store, output), COMMAND_BYTES))
        store.unlink()
        output.unlink()
    return _rounded(encrypting[1:]), _rounded(decrypting[1:])


def _rounded(values: list[float]) -> list[float]:
    return [round(value, 3) for value in values]


def _rate(work: Callable[[], None], size: int) -> float:
    begin = time.perf_counter()
    work()
    return size / (time.perf_counter() - begin) / 1e9


def _fill(path: Path, size: int) -> None:
    block = os.urandom(1 << 20)
    with open(path, "wb") as file:
        for _ in range(size >> 20):
            file.write(block)


_KEY = WrapKey(bytes(16))


def _open_kept(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _encrypt(plain: Path, store: Path) -> None:
    fd = _open_kept(store)
    with FileRange.open(plain) as source:
        encrypt_range(source, FileRange(fd), _KEY, "bench", processes=1)
    os.close(fd)


def _decrypt(store: Path, output: Path) -> None:
    fd = _open_kept(output)
    with FileRange.open(store) as source:
        reader = ProtectedReader.open(source, _KEY, path="bench")
        decrypt_range(reader, FileRange(fd), processes=1)
    os.close(fd)


def _openssl(*options: str) -> float:
    """Return GB/s of OpenSSL at 4 KiB blocks."""
    command = ["openssl", "speed", "-seconds", "1", "-bytes", "4096", *options, "-evp", "aes-128-gcm"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"^AES-128-GCM\s+([\d.]+)k", done.stdout, re.MULTILINE | re.IGNORECASE)
    if found is None:
        raise RuntimeError("openssl speed printed no figure for aes-128-gcm")
    return float(found[1]) / 1e6


def _lanthorn(verb: str, key: Path, source: Path, target: Path) -> None:
    command = [sys.executable, "-m", "lanthorn", verb, "--key-file", str(key), str(source), str(target)]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    for row in run(3):
        print(row)
