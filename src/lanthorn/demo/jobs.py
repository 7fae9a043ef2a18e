"""The two jobs of the demo: the classifier, and a second job that reads one library slowly."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from lanthorn.demo.failure import DemoFailedError
from lanthorn.demo.parties import TIMEOUT_SECONDS

SCRIPT = "classify.py"
SECOND_SCRIPT = "checksum.py"
CHUNK_READ = "read 1 MiB"
_SMALLEST_LIBRARY, _LARGEST_LIBRARY = 12 << 20, 64 << 20

_CLASSIFY = """\
[job]
name = "classify"
command = ["python", "classify.py"]
python = {python}
log_key = "result"

[[protected]]
path = "model.pth"
key = "model"
access = "read"

[[protected]]
path = "photo.png"
key = "photo"
access = "read"

[[protected]]
path = "result.txt"
key = "result"
access = "write"

"""

_SECOND = """\
[job]
name = "checksum"
command = ["python", "checksum.py", {library}]
python = {python}
stdio = "operator"
"""

# It reads for more than a second, so that whoever sees its first line has time to change what it reads last.
_SECOND_SCRIPT = f"""\
import hashlib
import os
import sys
import sysconfig
import time

print("variables:", *sorted(os.environ), flush=True)
digest = hashlib.sha256()
with open(os.path.join(sysconfig.get_path("purelib"), sys.argv[1]), "rb") as library:
    while piece := library.read(1 << 20):
        digest.update(piece)
        print("{CHUNK_READ}", flush=True)
        time.sleep(0.06)
print(digest.hexdigest())
"""


def write_classifier(folder: Path, script: Path, python: Path, broker: str) -> None:
    """Write the classifier's job: the script as it is, and what `lanthorn broker init` said of the broker."""
    folder.mkdir(parents=True)
    shutil.copyfile(script, folder / SCRIPT)
    text = _CLASSIFY.format(python=_quoted(str(python))) + broker
    (folder / "lanthorn.toml").write_text(text, encoding="utf-8")


def write_second_job(folder: Path, python: Path) -> Path:
    """Write the second job, with an environment of its own: no packages, one real library. Return its path."""
    environment = folder.parent / f"{folder.name}-environment"
    _make_environment(python, environment)
    library = _some_library(python.parent.parent)
    copy = next(environment.glob("lib/python*/site-packages")) / library.name
    shutil.copyfile(library, copy)
    folder.mkdir(parents=True)
    (folder / SECOND_SCRIPT).write_text(_SECOND_SCRIPT, encoding="utf-8")
    text = _SECOND.format(library=_quoted(library.name), python=_quoted(str(environment / "bin" / "python")))
    (folder / "lanthorn.toml").write_text(text, encoding="utf-8")
    return copy


def _make_environment(python: Path, environment: Path) -> None:
    command = [str(python), "-I", "-m", "venv", "--without-pip", str(environment)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_SECONDS)  # noqa: S603 - as named
    except (OSError, subprocess.SubprocessError) as error:
        raise DemoFailedError(f"{python} cannot make an environment: {type(error).__name__}") from error


def _some_library(environment: Path) -> Path:
    """Return a real library large enough to be read for a second, small enough to be copied."""
    found = [
        Path(folder, name)
        for folder, _, names in os.walk(environment / "lib")
        for name in names
        if ".so" in name
        and _SMALLEST_LIBRARY <= os.path.getsize(os.path.join(folder, name)) <= _LARGEST_LIBRARY
    ]
    if not found:
        raise DemoFailedError(f"no shared library of 12 to 64 MiB in {environment}")
    return min(found, key=lambda path: (path.stat().st_size, str(path)))


def _quoted(text: str) -> str:
    """Return a TOML basic string; JSON's escapes are TOML's."""
    import json

    return json.dumps(text, ensure_ascii=False)
