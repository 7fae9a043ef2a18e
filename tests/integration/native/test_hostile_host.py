"""A host that changes, swaps, shortens, withholds or rolls back anything: each ends the run and is named."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lanthorn.job.lock import LOCK_NAME, STORE_NAME
from lanthorn.keys import Keyring
from lanthorn.protected import encrypt_file
from tests.integration.native.lab import TABLE_SIZE, Lab

pytestmark = pytest.mark.fuse

READ_ALL = """
import library, os
data = open('data.bin', 'rb').read()
folder = [open(f'folder/{name}').read() for name in ('a.txt', 'inner/b.txt')]
table = open('table.bin', 'rb').read()
open('result.txt', 'w').write('read everything')
"""


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


Act = Callable[[Lab], object]


def flipped(name: str, at: int) -> Act:
    return lambda lab: flip(lab.job / name, at)


def cut(name: str, size: int) -> Act:
    return lambda lab: (lab.job / name).write_bytes((lab.job / name).read_bytes()[:size])


def withheld(name: str) -> Act:
    return lambda lab: (lab.job / name).unlink()


def replaced(name: str, data: bytes) -> Act:
    return lambda lab: (lab.job / name).write_bytes(data)


def piped(name: str) -> Act:
    def act(lab: Lab) -> None:
        (lab.job / name).unlink()
        os.mkfifo(lab.job / name)

    return act


def linked(name: str, target: str) -> Act:
    def act(lab: Lab) -> None:
        (lab.job / name).unlink()
        (lab.job / name).symlink_to(target)

    return act


def swapped(first: str, second: str) -> Act:
    def act(lab: Lab) -> None:
        aside = lab.folder / "aside"
        (lab.job / first).rename(aside)
        (lab.job / second).rename(lab.job / first)
        aside.rename(lab.job / second)

    return act


def older_version(lab: Lab) -> None:
    plain = lab.folder / "older"
    plain.write_bytes(b"last month's data")
    encrypt_file(plain, lab.job / "data.bin", Keyring(lab.home / "keys").load("data"), "data.bin", force=True)


def stored(suffix: str, act: Callable[[Path], object]) -> Act:
    """Act on every file of that kind in the store beside the lock."""
    return lambda lab: [
        act(path) for path in (lab.job / STORE_NAME).glob(f"*{suffix}") if path.stat().st_size
    ]


def flip_all_over(path: Path) -> None:
    for at in range(3, path.stat().st_size, 60_000):
        flip(path, at)


def locked(old: str, new: str) -> Act:
    def act(lab: Lab) -> None:
        text = (lab.job / LOCK_NAME).read_text()
        assert old in text
        (lab.job / LOCK_NAME).write_text(text.replace(old, new))

    return act


OTHER_LOCK = "already runs another lock"
NOT_REGULAR = "is not a regular file|not a regular file"
ATTACKS: dict[str, tuple[Act, str]] = {
    "bit in the first node of an input": (flipped("data.bin", 100), "data.bin"),
    "bit deep in an input": (flipped("data.bin", 100_000), "data.bin"),
    "input cut at a node": (cut("data.bin", 8192), "data.bin"),
    "input cut within a node": (cut("data.bin", 9000), "data.bin"),
    "input withheld": (withheld("data.bin"), r"data.bin.*withheld"),
    "input is a pipe": (piped("data.bin"), f"data.bin.*({NOT_REGULAR})"),
    "two inputs swapped": (swapped("data.bin", "code.py"), r"code.py|data.bin"),
    "older version of an input": (older_version, r"data.bin.*version"),
    "index withheld": (withheld("folder/.lanthorn-index"), r"folder/.lanthorn-index.*withheld"),
    "index changed": (flipped("folder/.lanthorn-index", 500), r"folder/.lanthorn-index"),
    "file of a folder withheld": (withheld("folder/a.txt"), r"folder/a.txt.*withheld"),
    "files of a folder swapped": (swapped("folder/a.txt", "folder/inner/b.txt"), r"folder/"),
    "file of a folder changed": (flipped("folder/a.txt", 900), r"folder/a.txt"),
    "script changed": (replaced("main.py", b"print('mine')"), r"main.py differs from the lock"),
    "trusted file changed at its end": (
        flipped("table.bin", TABLE_SIZE - 1),
        r"table.bin differs from the lock",
    ),
    "trusted file shorter": (cut("table.bin", 1000), r"table.bin differs from the lock"),
    "trusted file withheld": (withheld("table.bin"), r"table.bin is named by the lock but withheld"),
    "trusted file is a link": (
        linked("table.bin", "/etc/passwd"),
        r"table.bin is named by the lock but withheld",
    ),
    "trusted file is a pipe": (piped("table.bin"), f"table.bin is named by the lock but .*({NOT_REGULAR})"),
    "bytecode changed": (stored(".pycs", flip_all_over), r"bytecode pack differs from the lock"),
    "bytecode withheld": (stored(".pycs", os.unlink), r"bytecode pack is named by the lock but withheld"),
    "lists of trusted files changed": (stored(".list", flip_all_over), r"\.list"),
    "lists of trusted files withheld": (stored(".list", os.unlink), r"\.list"),
    "hash trees changed": (stored(".trees", flip_all_over), r"hash tree"),
    "hash trees withheld": (stored(".trees", os.unlink), r"\.trees"),
    "lock: other arguments": (locked('"an argument"', '"another argument"'), OTHER_LOCK),
    "lock: other environment": (locked("from the lock", "from the host"), OTHER_LOCK),
    "lock: output under another name": (locked("result.txt", "result.tx2"), OTHER_LOCK),
    "lock: streams to the operator": (locked('stdio = "protected"', 'stdio = "operator"'), OTHER_LOCK),
    "lock cut": (replaced(LOCK_NAME, b"lanthorn_lock = 1\n"), r"job"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_ends_the_run_and_is_named(lab: Lab, attack: str) -> None:
    act, words = ATTACKS[attack]
    old = b"yesterday's result"
    (lab.job / "result.txt").write_bytes(old)
    lab.code(READ_ALL)
    act(lab)
    ended = lab.run()
    assert ended.code == 125, f"{attack}: {ended.stderr}"
    errors = [line for line in ended.stderr.splitlines() if line.startswith("lanthorn: error: ")]
    assert len(errors) == 1, ended.stderr
    assert re.search(words, errors[0]), errors[0]
    assert "Traceback" not in ended.stderr
    assert (lab.job / "result.txt").read_bytes() == old


def test_bytes_after_the_locked_end_never_reach_the_program(lab: Lab) -> None:
    with open(lab.job / "table.bin", "ab") as file:
        file.write(b"more")
    ended = lab.run("print(len(open('table.bin', 'rb').read()))")
    assert lab.log(ended) == f"{TABLE_SIZE}\n"


def test_unchanged_job_still_runs(lab: Lab) -> None:
    ended = lab.run(READ_ALL)
    assert ended.code == 0, ended.stderr
    assert lab.read("result.txt", ended) == b"read everything"


@pytest.mark.parametrize("name", ["table.bin", "data.bin"])
def test_change_between_two_reads_is_found(lab: Lab, name: str) -> None:
    run = lab.start(
        code=f"""
        import os, time
        with open('{name}', 'rb', buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
            first = file.read(10)
            open('result.txt', 'wb').write(first)
            time.sleep(1)
            file.seek(190_000)
            open('deep/down/result.bin', 'wb').write(file.read(100))
        """
    )
    lab.wait_for(lab.job / "result.txt")
    for at in range(150_000, 204_000, 1_000):
        flip(lab.job / name, at)
    ended = lab.end(run)
    assert ended.code == 125
    assert name in ended.stderr
    assert not (lab.job / "deep" / "down" / "result.bin").exists()


def test_own_output_rolled_back_is_found_when_read_again(lab: Lab) -> None:
    run = lab.start(
        code="""
        import os, time
        open('result.txt', 'w').write('first')
        time.sleep(0.7)
        open('result.txt', 'w').write('second')
        open('deep/down/result.bin', 'w').write('go')
        time.sleep(1)
        fd = os.open('result.txt', os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        print(os.read(fd, 100))
        """
    )
    lab.wait_for(lab.job / "result.txt")
    shutil.copy(lab.job / "result.txt", lab.folder / "first")
    lab.wait_for(lab.job / "deep" / "down" / "result.bin")
    shutil.copy(lab.folder / "first", lab.job / "result.txt")
    ended = lab.end(run)
    assert ended.code == 125
    assert "result.txt" in ended.stderr
