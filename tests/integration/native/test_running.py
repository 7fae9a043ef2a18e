"""An ordinary program runs as if nothing were between it and its files."""

from __future__ import annotations

import json

import pytest

from lanthorn.job.lock import STORE_NAME
from lanthorn.targets.native.warming import HINT_NAME
from tests.integration.native.lab import TABLE_SIZE, Lab

pytestmark = pytest.mark.fuse


def test_program_reads_inputs_and_its_output_is_decrypted_by_run_id(lab: Lab) -> None:
    ended = lab.run(
        """
        data = open('data.bin', 'rb').read()
        open('result.txt', 'w').write(f"{len(data)} {sum(data)}")
        print("done")
        """
    )
    assert ended.code == 0, ended.stderr
    assert lab.read("result.txt", ended) == f"{len(lab.data)} {sum(lab.data)}".encode()
    assert lab.log(ended) == "done\n"


def test_operator_sees_neither_output_nor_errors_of_the_program(lab: Lab) -> None:
    ended = lab.run("import sys; print('a secret answer'); sys.exit('a secret complaint')")
    assert ended.code == 1
    assert "secret" not in ended.stdout + ended.stderr
    assert "NOT PROTECTED" in ended.stderr
    assert lab.log(ended) == "a secret answer\na secret complaint\n" or sorted(
        lab.log(ended).splitlines()
    ) == [
        "a secret answer",
        "a secret complaint",
    ]


@pytest.mark.parametrize("code", [0, 1, 3, 125, 255])
def test_exit_code_is_the_programs(lab: Lab, code: int) -> None:
    assert lab.run(f"raise SystemExit({code})").code == code


@pytest.mark.parametrize("number", [6, 9, 15])
def test_death_by_signal_is_128_and_the_signal(lab: Lab, number: int) -> None:
    assert lab.run(f"import os; os.kill(os.getpid(), {number})").code == 128 + number


def test_record_names_run_lock_inputs_and_outputs(lab: Lab) -> None:
    ended = lab.run("open('result.txt', 'w').write('x'); raise SystemExit(7)")
    record = lab.record(ended)
    assert record["exit_code"] == 7
    assert record["run_ids"] == {"home": ended.run_id}
    assert record["simulated"] is True
    assert set(record["inputs"]) == {"code.py", "data.bin", "folder"}
    inspected = json.loads(lab.command("inspect", str(lab.job / "result.txt"), "--json"))
    assert record["outputs"]["result.txt"] == {"version": inspected["version"], "size": 1}


def test_environment_and_arguments_come_from_the_lock(lab: Lab) -> None:
    ended = lab.run("import os, sys, json; print(json.dumps([sys.argv, dict(os.environ), sys.stdin.read()]))")
    argv, environment, stdin = json.loads(lab.log(ended))
    assert argv == ["main.py", "an argument"]
    assert environment.pop("PWD", None) in (None, str(lab.job))
    assert environment == {
        "LOCKED": "from the lock",
        "HOME": "/tmp/home",
        "USER": "lanthorn",
        "LANG": "C.UTF-8",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
    }
    assert stdin == ""


def test_folder_input_is_listed_from_its_index(lab: Lab) -> None:
    (lab.job / "folder" / "planted.txt").write_text("from the host")
    ended = lab.run(
        """
        import os
        for top, folders, files in os.walk('folder'):
            print(top, sorted(folders), sorted(files))
        print(open('folder/link').read(), os.readlink('folder/link'), os.stat('folder/a.txt').st_size)
        print(os.path.exists('folder/planted.txt'))
        """
    )
    assert lab.log(ended).splitlines() == [
        "folder ['inner'] ['a.txt', 'link']",
        "folder/inner ['empty'] ['b.txt']",
        "folder/inner/empty [] []",
        "bee inner/b.txt 2",
        "False",
    ]


def test_trusted_files_of_the_job_import_and_map(lab: Lab) -> None:
    ended = lab.run(
        """
        import library, mmap
        with open('table.bin', 'rb') as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
            print(library.ANSWER, len(view), view[-1], view[70_000])
        """
    )
    assert lab.log(ended) == f"42 {256 * 4096} 255 {70_000 % 256}\n"


def test_threads_subprocesses_and_multiprocessing_work(lab: Lab) -> None:
    ended = lab.run(
        """
        import multiprocessing, subprocess, sys, concurrent.futures
        def piece(number):
            with open('data.bin', 'rb') as file:
                file.seek(number * 4000)
                return sum(file.read(4000))
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            threads = sum(pool.map(piece, range(50)))
        with multiprocessing.get_context('fork').Pool(2) as pool:
            forks = sum(pool.map(piece, range(50)))
        child = subprocess.run([sys.executable, '-c', 'print(6 * 7)'], capture_output=True, text=True)
        print(threads == forks, threads, child.stdout.strip())
        """
    )
    assert lab.log(ended) == f"True {sum(lab.data)} 42\n"


def test_json_says_how_it_ended(lab: Lab) -> None:
    ended = lab.run("open('result.txt', 'w').write('x')", "--json")
    told = json.loads(ended.stdout)
    assert told["exit_code"] == 0
    assert told["run_id"] == ended.run_id
    assert set(told["outputs"]) == {"result.txt", "run.log"}


def test_second_run_reads_ahead_and_is_checked_all_the_same(lab: Lab) -> None:
    code = "import library, json, decimal; print(library.ANSWER, len(open('table.bin', 'rb').read()))"
    assert lab.run(code).code == 0
    hint = lab.job / STORE_NAME / HINT_NAME
    assert "table.bin" in hint.read_text()
    second = lab.run(code)
    assert lab.log(second) == f"42 {TABLE_SIZE}\n"
    (lab.job / "table.bin").write_bytes(bytes(TABLE_SIZE))
    refused = lab.run(code)
    assert refused.code == 125
    assert "table.bin differs from the lock" in refused.stderr


def test_hostile_list_changes_nothing(lab: Lab) -> None:
    (lab.job / STORE_NAME / HINT_NAME).write_text(
        json.dumps(
            [["look", f"{lab.job}/result.txt", 0], ["read", f"{lab.job}/data.bin", 0], ["look", "/etc/x", 0]]
        )
    )
    ended = lab.run("open('result.txt', 'x').write(str(len(open('data.bin', 'rb').read())))")
    assert ended.code == 0, ended.stderr
    assert lab.read("result.txt", ended) == str(len(lab.data)).encode()
