"""What the program can see and reach: what its lock names, and a private world around it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path

import pytest

from lanthorn.keys import Keyring
from tests.integration.native.lab import Lab, descendants, kill_quietly

pytestmark = pytest.mark.fuse


def test_nothing_of_the_host_exists(lab: Lab) -> None:
    (lab.job / "unlisted.txt").write_text("on the host")
    ended = lab.run(
        """
        import os, json
        paths = ['/etc/shadow', '/etc/hostname', '/root/.bashrc', '/var', '/boot', 'unlisted.txt', 'lanthorn.lock',
                 'lanthorn.toml', '/dev/fuse', '/dev/mem', '/dev/kmsg', '/sys/kernel', '/sys/firmware',
                 '/usr/bin/ls', '/usr/share/doc', '..' + os.sep + 'home']
        print(json.dumps([path for path in paths if os.path.exists(path)]))
        print(json.dumps(sorted(os.listdir('.'))))
        """
    )
    found, names = (json.loads(line) for line in lab.log(ended).splitlines())
    assert found == []
    assert names == ["code.py", "data.bin", "deep", "folder", "library.py", "main.py", "table.bin"]


def test_private_temporary_folders_are_writable_and_private(lab: Lab) -> None:
    ended = lab.run(
        """
        import os, tempfile, pathlib
        pathlib.Path(os.path.expanduser('~/cache')).mkdir()
        for folder in ('/tmp', '/dev/shm', '/run', os.path.expanduser('~')):
            pathlib.Path(folder, 'lanthorn-private-trace').write_text('plain')
        print(tempfile.gettempdir())
        """
    )
    assert lab.log(ended) == "/tmp\n"
    for folder in ("/tmp", "/dev/shm", "/run"):
        assert not Path(folder, "lanthorn-private-trace").exists()


def test_there_is_no_network(lab: Lab) -> None:
    ended = lab.run(
        f"""
        import socket
        for address in (('127.0.0.1', {lab.port}), ('192.0.2.1', 80)):
            try:
                socket.create_connection(address, timeout=2)
                print('connected')
            except OSError as error:
                print('refused')
        """
    )
    assert lab.log(ended) == "refused\nrefused\n"


def test_program_is_nobody_with_no_rights(lab: Lab) -> None:
    ended = lab.run(
        """
        import os, re
        status = open('/proc/self/status').read()
        print(os.getuid(), re.search(r'CapEff:\\s*(\\w+)', status)[1], re.search(r'NoNewPrivs:\\s*(\\d)', status)[1])
        print(sorted(int(name) for name in os.listdir('/proc') if name.isdigit())[-1] < 20)
        import pwd; print(pwd.getpwuid(os.getuid()).pw_name, os.uname().nodename)
        """
    )
    assert lab.log(ended).splitlines() == ["1000 0000000000000000 1", "True", "lanthorn lanthorn"]


def test_keys_are_in_no_command_line_and_no_environment(lab: Lab) -> None:
    run = lab.start(code="import time; open('result.txt', 'w').write('x'); time.sleep(60)")
    lab.wait_for(lab.job / "result.txt")
    keys = [Keyring(lab.home / "keys").load(name).raw for name in ("data", "result")]
    seen = b""
    pids = [run.pid, *descendants(run.pid)]
    for pid in pids:
        for name in ("cmdline", "environ"):
            with contextlib.suppress(
                FileNotFoundError, ProcessLookupError
            ):  # A helper may have ended meanwhile.
                seen += Path(f"/proc/{pid}/{name}").read_bytes()
    kill_quietly(run)
    assert len(pids) >= 4
    for key in keys:
        assert key not in seen and key.hex().encode() not in seen


def test_runtime_processes_cannot_be_dumped(lab: Lab) -> None:
    run = lab.start(code="import time; open('result.txt', 'w').write('x'); time.sleep(60)")
    lab.wait_for(lab.job / "result.txt")
    limits = []
    for pid in (run.pid, *descendants(run.pid)[:1]):
        line = next(line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if "core" in line)
        limits.append(line.split()[4:6])
        # A process that is not dumpable has its /proc files owned by root and refuses ptrace without CAP_SYS_PTRACE.
        assert os.stat(f"/proc/{pid}/mem").st_uid == 0
    run.send_signal(signal.SIGTERM)
    run.communicate()
    assert limits == [["0", "0"], ["0", "0"]]
