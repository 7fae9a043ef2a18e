"""`lanthorn key | encrypt | decrypt | inspect` as a person uses them: real processes, files, exit codes."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lanthorn.keys import WrapKey, derive_output_key
from lanthorn.protected import encrypt_file, version_id

RUN = "00112233445566778899aabbccddeeff"
Lanthorn = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    (folder / "data" / "sub").mkdir(parents=True)
    (folder / "data" / "a").write_bytes(b"a" * 5000)
    (folder / "data" / "sub" / "b").write_bytes(b"b" * 400_000)
    (folder / "photo.png").write_bytes(b"photo" * 1000)
    (folder / "model.pth").write_bytes(b"model" * 100_000)
    (folder / "key").write_bytes(bytes(range(16)))
    (folder / "key").chmod(0o600)
    return folder


@pytest.fixture
def lanthorn(work: Path) -> Lanthorn:
    def run(*arguments: str, code: int = 0, **options: object) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "lanthorn", *arguments],
            cwd=work,
            capture_output=True,
            text=True,
            timeout=60,
            **options,  # type: ignore[call-overload]
        )
        assert done.returncode == code, (arguments, done.returncode, done.stderr)
        assert "Traceback" not in done.stderr
        assert not [name for name in os.listdir(work) if name.startswith(".lanthorn-tmp")]
        return done

    return run


def error_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in done.stderr.splitlines() if line.startswith("lanthorn: error: ")]
    assert len(lines) == 1 and not done.stdout
    return lines[0].removeprefix("lanthorn: error: ")


def test_key_commands(lanthorn: Lanthorn, work: Path) -> None:
    lanthorn("key", "new", "model")
    lanthorn("key", "import", "data", "key")
    lanthorn("key", "export", "data", "out.key")
    assert (work / "out.key").read_bytes() == bytes(range(16))
    assert (work / "out.key").stat().st_mode & 0o777 == 0o600
    rows = json.loads(lanthorn("key", "list", "--json").stdout)
    assert [row["name"] for row in rows] == ["data", "model"]
    assert rows[0]["id"] == WrapKey(bytes(range(16))).key_id
    assert lanthorn("key", "list").stdout.split() == [rows[0]["id"], "data", rows[1]["id"], "model"]
    assert "key exists: model" in error_line(lanthorn("key", "new", "model", code=3))


def test_a_key_on_standard_input(lanthorn: Lanthorn, work: Path) -> None:
    with open(work / "key", "rb") as key:
        lanthorn("encrypt", "--key-file", "-", "photo.png", "photo.enc", stdin=key)
    lanthorn("decrypt", "--key-file", "key", "photo.enc", "photo.out")
    assert (work / "photo.out").read_bytes() == (work / "photo.png").read_bytes()


def test_a_file_there_and_back(lanthorn: Lanthorn, work: Path) -> None:
    lanthorn("key", "new", "model")
    lanthorn("encrypt", "--key", "model", "model.pth", "model.enc")
    assert b"model" * 3 not in (work / "model.enc").read_bytes()
    lanthorn("decrypt", "--key", "model", "model.enc", "back.pth")
    assert (work / "back.pth").read_bytes() == (work / "model.pth").read_bytes()
    assert (work / "back.pth").stat().st_mode & 0o777 == 0o600


def test_many_into_a_folder(lanthorn: Lanthorn, work: Path) -> None:
    (work / "enc").mkdir()
    (work / "back").mkdir()
    lanthorn("encrypt", "--key-file", "key", "photo.png", "model.pth", "data", "enc")
    assert sorted(os.listdir(work / "enc")) == ["data", "model.pth", "photo.png"]
    lanthorn("decrypt", "--key-file", "key", "enc/photo.png", "enc/model.pth", "enc/data", "back/")
    for name in ("photo.png", "model.pth", "data/a", "data/sub/b"):
        assert (work / "back" / name).read_bytes() == (work / name).read_bytes()


def test_the_embedded_path_is_relative_to_the_job(lanthorn: Lanthorn, work: Path) -> None:
    (work / "job" / "in" / "deep").mkdir(parents=True)
    (work / "job" / "lanthorn.toml").touch()

    def path_of(*arguments: str) -> str:
        done = lanthorn("encrypt", "--key-file", "key", "--json", "--force", *arguments)
        path: str = json.loads(done.stdout)[0]["path"]
        return path

    assert path_of("photo.png", "job/in/deep/photo.png") == "in/deep/photo.png"
    assert path_of("data", "job/in/data") == "in/data"
    assert path_of("photo.png", "photo.enc") == "photo.enc"
    assert path_of("--as", "else/where", "photo.png", "photo.enc") == "else/where"
    lanthorn("decrypt", "--key-file", "key", "--as", "else/where", "photo.enc", "photo.out")
    done = lanthorn("decrypt", "--key-file", "key", "--as", "photo.enc", "photo.enc", "photo.no", code=11)
    assert "expected 'photo.enc', got 'else/where'" in error_line(done)


def test_inspect(lanthorn: Lanthorn, work: Path) -> None:
    done = lanthorn("encrypt", "--key-file", "key", "--json", "model.pth", "model.enc")
    version = json.loads(done.stdout)[0]["version"]
    raw = (work / "model.enc").read_bytes()
    assert version == version_id(raw)
    assert json.loads(lanthorn("inspect", "--json", "model.enc").stdout) == {
        "file": "model.enc",
        "format": "2.0",
        "flags": 0,
        "version": version,
        "nodes": len(raw) // 4096,
        "authenticated": False,
    }
    found = json.loads(lanthorn("inspect", "--json", "--key-file", "key", "model.enc").stdout)
    assert (found["path"], found["size"], found["authenticated"]) == ("model.enc", 500_000, True)
    assert version in lanthorn("inspect", "model.enc").stdout


def test_inspect_a_folder(lanthorn: Lanthorn) -> None:
    lanthorn("encrypt", "--key-file", "key", "data", "enc")
    found = json.loads(lanthorn("inspect", "--json", "--key-file", "key", "enc").stdout)
    assert [(row["path"], row["size"]) for row in found["entries"]] == [("a", 5000), ("sub/b", 400_000)]
    assert "entries" not in json.loads(lanthorn("inspect", "--json", "enc").stdout)
    assert "sub/b" in lanthorn("inspect", "--key-file", "key", "enc").stdout


def test_an_output_of_a_run(lanthorn: Lanthorn, work: Path) -> None:
    owner = WrapKey(bytes(range(16)))
    lanthorn("key", "import", "result", "key")
    encrypt_file(
        work / "photo.png", work / "result.enc", derive_output_key(owner, RUN, "result"), "result.txt"
    )
    lanthorn("decrypt", "--key", "result", "--run", RUN, "result.enc", "one")
    lanthorn("decrypt", "--key-file", "key", "--key-name", "result", "--run", RUN, "result.enc", "two")
    assert (work / "one").read_bytes() == (work / "two").read_bytes() == (work / "photo.png").read_bytes()
    other = RUN.replace("0", "1")
    assert "wrong key" in error_line(
        lanthorn("decrypt", "--key", "result", "--run", other, "result.enc", "three", code=11)
    )
    lanthorn("decrypt", "--key-file", "key", "--run", RUN, "result.enc", "three", code=2)
    lanthorn("decrypt", "--key", "result", "--run", "yesterday", "result.enc", "three", code=2)
    lanthorn("decrypt", "--key", "result", "--key-name", "result", "result.enc", "three", code=2)


BAD: dict[str, tuple[str, int, str]] = {
    "not a protected file": ("decrypt --key-file key photo.png new", 10, "not a protected file"),
    "truncated": ("decrypt --key-file key cut.enc new", 11, "cut short"),
    "wrong key": ("decrypt --key-file other photo.enc new", 11, "wrong key"),
    "changed": ("decrypt --key-file key changed.enc new", 11, "was changed: data node"),
    "a key of 15 bytes": ("encrypt --key-file short photo.png new", 10, "expected 16 bytes, got 15"),
    "a key of 17 bytes": ("encrypt --key-file long photo.png new", 10, "expected 16 bytes, got more"),
    "a key for all to read": ("encrypt --key-file open photo.png new", 3, "open to others"),
    "no such key file": ("encrypt --key-file none photo.png new", 3, "none: no such file"),
    "no such key": ("encrypt --key none photo.png new", 3, "no key named none"),
    "a bad key name": ("encrypt --key ../key photo.png new", 2, "not a key name"),
    "no key": ("encrypt photo.png new", 2, "exactly one of --key and --key-file"),
    "two keys": ("encrypt --key a --key-file key photo.png new", 2, "exactly one of --key and --key-file"),
    "source missing": ("encrypt --key-file key none new", 3, "none: no such file"),
    "ciphertext missing": ("decrypt --key-file key none new", 3, "none: no such file"),
    "name too long": (f"encrypt --key-file key {'x' * 300} new", 3, "no such file"),
    "destination too long": (
        f"encrypt --key-file key photo.png {'x' * 1000}",
        2,
        "embedded path is too long",
    ),
    "a loop of links": ("encrypt --force --key-file key loop new", 3, "no such file"),
    "inspected missing": ("inspect none", 3, "none: no such file"),
    "inspected plain": ("inspect photo.png", 10, "not a protected file"),
    "output exists": ("encrypt --key-file key photo.png photo.enc", 3, "output exists: photo.enc"),
    "plaintext exists": ("decrypt --key-file key photo.enc model.pth", 3, "output exists: model.pth"),
    "folder exists": ("encrypt --key-file key data data.enc", 3, "output exists: data.enc"),
    "folder missing": ("encrypt --key-file key photo.png none/new", 3, "no such folder: none"),
    "many to a file": ("encrypt --key-file key photo.png model.pth new", 2, "not a folder: new"),
    "many to no folder": ("encrypt --key-file key photo.png new/", 2, "not a folder: new/"),
    "same names": (
        "encrypt --key-file key photo.png twin/photo.png twin",
        2,
        "two sources for one destination",
    ),
    "onto itself": ("encrypt --force --key-file key photo.png photo.png", 2, "the same"),
    "onto itself by a link": ("encrypt --force --key-file key photo.png link", 2, "the same"),
    "into itself": ("encrypt --key-file key data data/new", 2, "inside the other"),
    "into a protected folder": (
        "encrypt --key-file key photo.png data.enc/new",
        2,
        "inside a protected folder",
    ),
    "onto a protected folder": (
        "encrypt --force --key-file key photo.png data.enc",
        2,
        "replace a folder with a file",
    ),
    "--as for many": ("encrypt --as x --key-file key photo.png model.pth twin", 2, "--as takes one source"),
    "--as not normal": ("encrypt --as a/../b --key-file key photo.png new", 2, "not a normalised path"),
    "a folder without index": ("decrypt --key-file key data new", 10, "not a protected folder"),
    "unknown option": ("encrypt --kye x photo.png new", 2, "No such option"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_one_line_and_the_right_code(name: str, lanthorn: Lanthorn, work: Path) -> None:
    owner = WrapKey(bytes(range(16)))
    encrypt_file(work / "photo.png", work / "photo.enc", owner, "photo.enc")
    raw = (work / "photo.enc").read_bytes()
    (work / "cut.enc").write_bytes(raw[:-1000])
    (work / "changed.enc").write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    lanthorn("encrypt", "--key-file", "key", "data", "data.enc")
    for path, length, mode in (
        ("short", 15, 0o600),
        ("long", 17, 0o600),
        ("open", 16, 0o644),
        ("other", 16, 0o600),
    ):
        (work / path).write_bytes(bytes(length))
        (work / path).chmod(mode)
    (work / "twin").mkdir()
    (work / "twin" / "photo.png").write_bytes(b"twin")
    (work / "link").symlink_to("photo.png")
    (work / "loop").symlink_to("loop")
    before = snapshot(work)
    arguments, code, message = BAD[name]
    assert message in error_line(lanthorn(*arguments.split(), code=code))
    assert snapshot(work) == before, "a refused command changed something"


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_force_replaces(lanthorn: Lanthorn, work: Path) -> None:
    lanthorn("encrypt", "--key-file", "key", "photo.png", "enc")
    lanthorn("encrypt", "--force", "--key-file", "key", "model.pth", "enc")
    lanthorn("decrypt", "--force", "--key-file", "key", "enc", "photo.png")
    assert (work / "photo.png").read_bytes() == (work / "model.pth").read_bytes()
    lanthorn("encrypt", "--key-file", "key", "data", "folder")
    (work / "data" / "a").unlink()
    lanthorn("encrypt", "--force", "--key-file", "key", "data", "folder")
    assert not (work / "folder" / "a").exists() and not (work / "folder" / "data").exists()


def test_a_folder_with_a_changed_member_is_refused_whole(lanthorn: Lanthorn, work: Path) -> None:
    lanthorn("encrypt", "--key-file", "key", "data", "enc")
    shutil.copy(work / "enc" / "a", work / "enc" / "extra")
    assert "does not name: extra" in error_line(
        lanthorn("decrypt", "--key-file", "key", "enc", "back", code=11)
    )
    (work / "enc" / "extra").unlink()
    (work / "enc" / "sub" / "b").unlink()
    assert "lacks a file of its index: sub/b" in error_line(
        lanthorn("decrypt", "--key-file", "key", "enc", "back", code=11)
    )
    assert not (work / "back").exists()


def test_a_full_disk(lanthorn: Lanthorn, work: Path) -> None:
    """A real one: a tmpfs of 1 MiB in a mount namespace of its own."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    (work / "small").mkdir()
    (work / "big").write_bytes(bytes(3 << 20))
    script = (
        "mount -t tmpfs -o size=1m tmpfs small && "
        f"{sys.executable} -m lanthorn encrypt --key-file key big small/big; code=$?; ls -A small; exit $code"
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], cwd=work, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 3, done.stderr
    assert done.stderr.splitlines() == [
        "lanthorn: error: cannot write small/big: no space left on device",
        "lanthorn: hint: free some space and run it again",
    ]
    assert done.stdout == "", "something was left on the full disk"


def test_a_file_size_limit(lanthorn: Lanthorn, work: Path) -> None:
    (work / "big").write_bytes(bytes(3 << 20))

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    done = lanthorn("encrypt", "--key-file", "key", "big", "big.enc", code=3, preexec_fn=limit)
    assert "file too large" in error_line(done) and not (work / "big.enc").exists()


@pytest.mark.parametrize(
    ("signum", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["ctrl-c", "terminated", "hung up"],
)
@pytest.mark.parametrize("group", [True, False], ids=["whole group", "command alone"])
def test_interrupted_leaves_nothing(work: Path, signum: int, code: int, group: bool) -> None:
    with open(work / "big", "wb") as file:
        file.truncate(8 << 30)  # a hole: no disk is used, and encrypting it takes long enough
    process = subprocess.Popen(
        [sys.executable, "-m", "lanthorn", "encrypt", "--key-file", "key", "big", "big.enc"],
        cwd=work,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: any(path.stat().st_blocks > 20_000 for path in work.glob(".lanthorn-tmp-*")))
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    if group:
        os.killpg(process.pid, signum)
    else:
        process.send_signal(signum)
    _, said = process.communicate(timeout=30)
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert not (work / "big.enc").exists() and not list(work.glob(".lanthorn-tmp-*"))
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()], "a worker outlived the command"


def wait_for(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not ready():
        assert time.monotonic() < deadline, "the command did not start its work"
        time.sleep(0.01)


def test_a_killed_worker_is_one_clear_error(work: Path) -> None:
    with open(work / "big", "wb") as file:
        file.truncate(8 << 30)
    process = subprocess.Popen(
        [sys.executable, "-m", "lanthorn", "encrypt", "--key-file", "key", "big", "big.enc"],
        cwd=work,
        stderr=subprocess.PIPE,
        text=True,
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    wait_for(lambda: bool(children.read_text()))
    os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 3 and "a worker process ended before its work was done" in said
    assert not list(work.glob(".lanthorn-tmp-*"))


def test_no_key_in_argv_or_environment_of_workers(work: Path) -> None:
    with open(work / "big", "wb") as file:
        file.truncate(8 << 30)
    (work / "key").write_bytes(b"sixteen-secret-b")
    process = subprocess.Popen(
        [sys.executable, "-m", "lanthorn", "encrypt", "--key-file", "key", "big", "big.enc"],
        cwd=work,
        stderr=subprocess.DEVNULL,
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    wait_for(lambda: bool(children.read_text()))
    for pid in (str(process.pid), *children.read_text().split()):
        for name in ("cmdline", "environ"):
            data = Path(f"/proc/{pid}/{name}").read_bytes()
            assert data and b"sixteen-secret-b" not in data and b"sixteen-secret-b".hex().encode() not in data
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130


def test_a_big_file_on_several_processes(lanthorn: Lanthorn, work: Path) -> None:
    with open(work / "big", "wb") as file:
        for n in range(65):
            file.write(bytes([n]) * (1 << 20))
    lanthorn("encrypt", "--key-file", "key", "big", "big.enc")
    lanthorn("decrypt", "--key-file", "key", "big.enc", "back")
    assert (work / "back").read_bytes() == (work / "big").read_bytes()


def test_progress_is_drawn_on_a_terminal_only(work: Path) -> None:
    with open(work / "big", "wb") as file:
        file.truncate(65 << 20)
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "lanthorn", "encrypt", "--key-file", "key", "big", "big.enc"],
        cwd=work,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    said = b""
    while True:
        try:
            said += os.read(ours, 4096)
        except OSError:
            break
    os.close(ours)
    assert process.wait(timeout=30) == 0
    assert b"encrypting" in said
    quiet = subprocess.run(
        [sys.executable, "-m", "lanthorn", "encrypt", "--force", "--key-file", "key", "big", "big.enc"],
        cwd=work,
        capture_output=True,
        timeout=60,
    )
    assert (quiet.returncode, quiet.stderr, quiet.stdout) == (0, b"", b"")
