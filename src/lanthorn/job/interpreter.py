"""Ask a job's Python where its environment and its own installation lie."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanthorn.errors import UsageError

PROBE_TIMEOUT_SECONDS = 60
MAX_PROBE_BYTES = 1 << 20

# Runs with -I: neither the caller's variables nor its folder change the answer.
_PROBE = """
import json, os, platform, sys, sysconfig
site = [p for p in sys.path if os.path.basename(p) in ("site-packages", "dist-packages")]
site += [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
# In a virtual environment, platstdlib would be the environment's own lib folder.
base = {"platbase": sys.base_exec_prefix}
stdlib = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib", vars=base)]
known = set(site + stdlib) | {p for p in sys.path if p.endswith((".zip", "lib-dynload"))}
settings = {}
if sys.prefix != sys.base_prefix:
    with open(os.path.join(sys.prefix, "pyvenv.cfg"), encoding="utf-8") as file:
        settings = dict(tuple(p.strip() for p in line.partition("=")[::2]) for line in file)
print(json.dumps({
    "prefix": sys.prefix, "base": sys.base_prefix, "executable": os.path.realpath(sys.executable),
    "version": platform.python_version(), "implementation": sys.implementation.name,
    "cache_tag": sys.implementation.cache_tag, "multiarch": sysconfig.get_config_var("MULTIARCH") or "",
    "site": site, "stdlib": stdlib, "beside": [p for p in sys.path if p not in known],
    "system_site": settings.get("include-system-site-packages", "false").lower() == "true",
}))
"""


@dataclass(frozen=True)
class Interpreter:
    """A Python as it describes itself; every path is real (no symbolic links)."""

    command: str
    prefix: str
    base: str
    executable: str
    version: str
    implementation: str
    cache_tag: str
    multiarch: str
    site: tuple[str, ...]
    stdlib: tuple[str, ...]
    beside: tuple[str, ...]

    @property
    def inside(self) -> str:
        """The executable's path in its own installation."""
        return os.path.relpath(self.executable, self.base)

    @property
    def venv(self) -> bool:
        return self.prefix != self.base


def probe(python: Path) -> Interpreter:
    """Run `python` isolated and return what it says. This executes the environment's own start-up code.

    Raises `UsageError` when it does not run, is no CPython-like interpreter, or uses the system's packages as
    well.
    """
    said = _ask(python)
    if said["system_site"]:
        hint = "make the environment without --system-site-packages"
        raise UsageError(f"{python}: its environment includes the system's packages: not lockable", hint=hint)
    if not said["cache_tag"]:
        raise UsageError(f"{python}: this interpreter does not use bytecode files")
    return Interpreter(
        command=os.path.abspath(python),
        prefix=os.path.realpath(said["prefix"]),
        base=os.path.realpath(said["base"]),
        executable=os.path.realpath(said["executable"]),
        version=said["version"],
        implementation=said["implementation"],
        cache_tag=said["cache_tag"],
        multiarch=said["multiarch"],
        site=_real_folders(said["site"]),
        stdlib=_real_folders(said["stdlib"]),
        beside=tuple(said["beside"]),
    )


def _ask(python: Path) -> dict[str, Any]:
    hint = "name the environment's interpreter: python = '.venv/bin/python' in lanthorn.toml, or --python"
    try:
        done = subprocess.run(  # noqa: S603 - the interpreter that the job's author names
            [os.path.abspath(python), "-I", "-c", _PROBE],
            capture_output=True,
            timeout=PROBE_TIMEOUT_SECONDS,
            stdin=subprocess.DEVNULL,
            check=True,
        )
        # The last line: an environment's own start-up code may print something before.
        said: dict[str, Any] = json.loads(done.stdout[-MAX_PROBE_BYTES:].strip().rpartition(b"\n")[2])
    except subprocess.CalledProcessError as error:
        words = error.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise UsageError(f"{python} does not run: {' '.join(words)[:200]}", hint=hint) from error
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        raise UsageError(f"{python} does not run as a Python: {type(error).__name__}", hint=hint) from error
    return said


def _real_folders(paths: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(os.path.realpath(path) for path in paths if os.path.isdir(path)))
