"""scripts/setup.sh among fake programs: what it installs, what it prints, and that it does nothing twice."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
TOOLS = ("cat", "cut", "dirname", "flock", "mkdir", "rm", "sh", "sha256sum")
COMPLETE = ("bwrap", "fusermount3", "openssl")

# A Python that has what SETUP_HAS names, makes an environment of one fake pip, and writes down what it was asked.
PYTHON = """#!/bin/sh
case "$*" in
*libfuse3*) case "$SETUP_HAS" in *libfuse*) exit 0;; *) exit 1;; esac ;;
*ensurepip*) case "$SETUP_HAS" in *venv*) exit 0;; *) exit 1;; esac ;;
"-m venv"*) echo "python $*" >> calls; mkdir -p "$3/bin"
    printf '#!/bin/sh\\necho "pip $*" >> calls\\n' > "$3/bin/pip"; /bin/chmod +x "$3/bin/pip" ;;
*) echo "python $*" >> calls; exit 1 ;;
esac
"""


class Checkout:
    """A copy of what the script reads, and a PATH of nothing but what a test put there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkout"
        self.programs = folder / "bin"
        self.programs.mkdir()
        for name in ("scripts/setup.sh", "requirements/dev.txt", "pyproject.toml"):
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, self.folder / name)
        for name in TOOLS:
            (self.programs / name).symlink_to(shutil.which(name) or name)
        self.program("python3", PYTHON)
        self.program("apt-get", '#!/bin/sh\necho "apt-get $*" >> calls\n')

    def program(self, name: str, text: str = "#!/bin/sh\n") -> None:
        path = self.programs / name
        path.write_text(text)
        path.chmod(0o755)

    def run(self, *, uid: int, has: str) -> subprocess.CompletedProcess[str]:
        self.program("id", f"#!/bin/sh\necho {uid}\n")
        environment = {"PATH": str(self.programs), "SETUP_HAS": has}
        script = str(self.folder / "scripts" / "setup.sh")
        return subprocess.run([script], env=environment, capture_output=True, text=True, timeout=60)

    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


ALL = " bubblewrap libfuse3-3 fuse3 python3-venv openssl"


@pytest.mark.parametrize(
    ("programs", "has", "packages"),
    [
        ((), "", ALL),
        (("fusermount3", "openssl"), "libfuse venv", " bubblewrap"),
        (("bwrap", "openssl"), "venv", " libfuse3-3 fuse3"),
        (COMPLETE, "libfuse", " python3-venv"),
    ],
)
def test_without_root_it_stops_with_the_exact_command(
    checkout: Checkout, programs: tuple[str, ...], has: str, packages: str
) -> None:
    for name in programs:
        checkout.program(name)
    done = checkout.run(uid=1000, has=has)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.splitlines() == [
        f"lanthorn: error: missing system packages:{packages}",
        f"lanthorn: hint: run: sudo apt-get update && sudo apt-get install -y{packages}",
    ]
    assert checkout.calls() == [] and not (checkout.folder / ".venv").exists()


def test_as_root_it_installs_what_is_missing_and_nothing_else(checkout: Checkout) -> None:
    checkout.program("openssl")
    assert checkout.run(uid=0, has="venv").returncode == 0
    assert checkout.calls()[:2] == [
        "apt-get update -qq",
        "apt-get install -y bubblewrap libfuse3-3 fuse3 -qq",
    ]


def test_a_second_run_does_nothing(checkout: Checkout) -> None:
    for name in COMPLETE:
        checkout.program(name)
    first = checkout.run(uid=1000, has="libfuse venv")
    assert first.returncode == 0, first.stderr
    made = checkout.calls()
    assert made[0] == "python -m venv .venv"
    assert any("--require-hashes -r requirements/dev.txt" in call for call in made)
    started = time.monotonic()
    second = checkout.run(uid=1000, has="libfuse venv")
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert checkout.calls() == made
    assert time.monotonic() - started < 5


def test_changed_requirements_make_the_environment_anew(checkout: Checkout) -> None:
    for name in COMPLETE:
        checkout.program(name)
    checkout.run(uid=1000, has="libfuse venv")
    made = checkout.calls()
    (checkout.folder / "requirements" / "dev.txt").write_text("# another\n")
    checkout.run(uid=1000, has="libfuse venv")
    assert checkout.calls() == made * 2
