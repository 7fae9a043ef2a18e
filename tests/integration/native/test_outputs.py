"""What a program writes: every way to write it, complete or absent, and nowhere else."""

from __future__ import annotations

import pytest

from lanthorn.errors import IntegrityError
from tests.integration.native.lab import Lab

pytestmark = pytest.mark.fuse


def test_every_way_to_write_a_file(lab: Lab) -> None:
    ended = lab.run(
        """
        import os
        with open('result.txt', 'w') as file:
            file.write('0123456789')
        with open('result.txt', 'a') as file:
            file.write('abc')
        with open('result.txt', 'r+') as file:
            file.seek(2); file.write('XY')
        os.truncate('result.txt', 12)
        with open('result.txt', 'r+b') as file:
            file.truncate(20); file.seek(30); file.write(b'!')
        print(open('result.txt', 'rb').read(), os.stat('result.txt').st_size)
        """
    )
    expected = b"01XY456789ab" + bytes(18) + b"!"
    assert lab.log(ended) == f"{expected!r} {len(expected)}\n"
    assert lab.read("result.txt", ended) == expected


def test_large_random_writes_read_back(lab: Lab) -> None:
    ended = lab.run(
        """
        import random
        source = random.Random(7)
        model = bytearray(6_000_000)
        with open('result.txt', 'w+b') as file:
            file.truncate(len(model))
            for _ in range(300):
                at, piece = source.randrange(len(model) - 70_000), source.randbytes(source.randrange(70_000))
                model[at:at + len(piece)] = piece
                file.seek(at); file.write(piece)
                if _ % 50 == 0:
                    file.flush(); import os; os.fsync(file.fileno())
            file.seek(0)
            print(file.read() == model)
        print(open('result.txt', 'rb').read() == model)
        """
    )
    assert lab.log(ended) == "True\nTrue\n"
    assert len(lab.read("result.txt", ended)) == 6_000_000


def test_shared_mapping_writes_through(lab: Lab) -> None:
    ended = lab.run(
        """
        import mmap
        with open('result.txt', 'w+b') as file:
            file.truncate(10_000)
            with mmap.mmap(file.fileno(), 10_000) as view:
                view[5_000:5_005] = b'hello'
                view.flush()
        """
    )
    assert ended.code == 0
    assert lab.read("result.txt", ended)[4_999:5_006] == b"\0hello\0"


def test_output_in_folders_that_exist_only_for_it(lab: Lab) -> None:
    (lab.job / "deep" / "down").mkdir(parents=True)
    ended = lab.run(
        "import os; print(os.listdir('deep/down')); open('deep/down/result.bin', 'wb').write(b'x' * 9)"
    )
    assert lab.log(ended) == "[]\n"
    assert lab.read("deep/down/result.bin", ended) == b"x" * 9


def test_missing_folder_of_an_output_is_made(lab: Lab) -> None:
    ended = lab.run("open('deep/down/result.bin', 'wb').write(b'x')")
    assert ended.code == 0, ended.stderr
    assert lab.read("deep/down/result.bin", ended) == b"x"


def test_output_folder_with_subfolders_renames_and_removals(lab: Lab) -> None:
    ended = lab.run(
        """
        import os
        os.makedirs('out/a/b'); os.mkdir('out/empty'); os.mkdir('out/gone'); os.rmdir('out/gone')
        open('out/a/first.tmp', 'w').write('one')
        os.replace('out/a/first.tmp', 'out/a/first')
        open('out/a/b/second', 'w').write('old')
        open('out/new', 'w').write('two')
        os.replace('out/new', 'out/a/b/second')
        open('out/removed', 'w').write('x'); os.remove('out/removed')
        for top, folders, files in sorted(os.walk('out')):
            print(top, sorted(folders), sorted(files))
        """
    )
    assert lab.log(ended).splitlines() == [
        "out ['a', 'empty'] []",
        "out/a ['b'] ['first']",
        "out/a/b [] ['second']",
        "out/empty [] []",
    ]
    folder = lab.read_folder("out", ended)
    assert (folder / "a" / "first").read_text() == "one"
    assert (folder / "a" / "b" / "second").read_text() == "two"
    assert (folder / "empty").is_dir()
    assert sorted(path.name for path in folder.iterdir()) == ["a", "empty"]


def test_output_starts_absent_and_replaces_the_hosts(lab: Lab) -> None:
    (lab.job / "result.txt").write_bytes(b"from the host")
    (lab.job / "out").mkdir()
    (lab.job / "out" / "planted").write_bytes(b"from the host")
    ended = lab.run(
        """
        import os
        print(os.path.exists('result.txt'), os.path.exists('out'))
        open('result.txt', 'x').write('new'); os.mkdir('out'); open('out/f', 'w').write('f')
        """
    )
    assert lab.log(ended) == "False False\n"
    assert lab.read("result.txt", ended) == b"new"
    assert [path.name for path in lab.read_folder("out", ended).iterdir()] == ["f"]


def test_output_that_is_not_written_leaves_the_hosts_file(lab: Lab) -> None:
    (lab.job / "result.txt").write_bytes(b"yesterday's")
    assert lab.run("pass").code == 0
    assert (lab.job / "result.txt").read_bytes() == b"yesterday's"


def test_results_of_two_runs_have_two_keys(lab: Lab) -> None:
    yesterday = lab.run("open('result.txt', 'w').write('yesterday')")
    old = (lab.job / "result.txt").read_bytes()
    today = lab.run("open('result.txt', 'w').write('today')")
    (lab.job / "result.txt").write_bytes(old)
    assert lab.read("result.txt", yesterday) == b"yesterday"
    with pytest.raises(IntegrityError):
        lab.read("result.txt", today)


@pytest.mark.parametrize(
    "statement",
    [
        "open('other.txt', 'w')",
        "open('main.py', 'w')",
        "open('data.bin', 'r+b')",
        "open('folder/new.txt', 'w')",
        "os.mkdir('new')",
        "os.remove('main.py')",
        "os.remove('data.bin')",
        "os.rename('data.bin', 'other.bin')",
        "os.rename('main.py', 'result.txt')",
        "os.symlink('main.py', 'link')",
        "os.link('data.bin', 'hard')",
        "os.chmod('main.py', 0o777)",
        "os.truncate('data.bin', 1)",
        "open('/usr/new', 'w')",
        "open('/new', 'w')",
        "open('/etc/passwd', 'a')",
    ],
)
def test_writes_elsewhere_are_refused(lab: Lab, statement: str) -> None:
    before = {path: path.read_bytes() for path in lab.job.rglob("*") if path.is_file()}
    ended = lab.run(
        f"""
        import os, errno
        try:
            {statement}
        except OSError as error:
            print(errno.errorcode[error.errno])
        """
    )
    assert ended.code == 0, ended.stderr
    assert lab.log(ended).strip() in ("EROFS", "EACCES", "EPERM", "ENOSYS"), lab.log(ended)
    own = {"code.py", "run.log", "run.json"}
    changed = [path.name for path, data in before.items() if path.read_bytes() != data]
    assert not set(changed) - own


def test_refused_write_is_named_with_the_mend(lab: Lab) -> None:
    ended = lab.run(
        """
        try:
            open('other.txt', 'w')
        except OSError:
            pass
        """
    )
    assert f"wanted to write {lab.job}/other.txt" in ended.stderr
    assert 'access = "write"' in ended.stderr


def test_full_disk_is_the_programs_to_see(lab: Lab) -> None:
    used = sum(path.stat().st_size for path in (lab.folder / "pristine").rglob("*") if path.is_file())
    script = f"""
        mount -t tmpfs -o size={(used >> 20) + 10}m none {lab.job}
        cp -a {lab.folder}/pristine/. {lab.job}
        cp {lab.folder}/code.enc {lab.job}/code.py
        cp {lab.job}/main.py {lab.job}/result.txt
        "$@"; code=$?
        ls -A {lab.job}
        cp {lab.job}/run.log {lab.job}/result.txt {lab.folder}
        exit $code
        """
    lab.code(
        """
        import errno
        try:
            with open('result.txt', 'wb') as file:
                for _ in range(60):
                    file.write(bytes(1 << 20))
            print('no error')
        except OSError as error:
            print(errno.errorcode[error.errno])
        """
    )
    (lab.job / "code.py").rename(lab.folder / "code.enc")
    ended = lab.run(prefix=("unshare", "-m", "sh", "-c", script, "sh"))
    (lab.folder / "run.log").rename(lab.job / "run.log")
    assert lab.log(ended) == "ENOSPC\n"
    # The old output is whole and nothing half written lies beside it.
    assert (lab.folder / "result.txt").read_bytes() == (lab.job / "main.py").read_bytes()
    assert ".lanthorn-tmp" not in ended.stdout
