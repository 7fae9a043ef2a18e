"""The sandbox's command line, which is pure."""

from __future__ import annotations

from lanthorn.targets.native.sandbox import World, bubblewrap


def world(**changes: object) -> World:
    values: dict[str, object] = {
        "mountpoint": "/mnt/view",
        "top": {"usr": None, "lib": "usr/lib", "tmp": None, "dev": None},
        "roots": ["/tmp/job", "/usr", "/opt/env", "/dev/shm/other"],
        "folder": "/tmp/job",
        "environment": {"A": "1", "LANG": "de"},
        "command": ["/opt/env/bin/python", "main.py"],
        "user_namespace": True,
    }
    return World(**{**values, **changes})  # type: ignore[arg-type]


def pairs(command: list[str], flag: str, count: int) -> list[tuple[str, ...]]:
    return [tuple(command[at + 1 : at + 1 + count]) for at, word in enumerate(command) if word == flag]


def test_nothing_is_shared_and_no_right_is_left() -> None:
    command = bubblewrap(world(), status_fd=7)
    for flag in (
        "--unshare-pid",
        "--unshare-net",
        "--unshare-ipc",
        "--unshare-uts",
        "--unshare-user",
        "--clearenv",
    ):
        assert flag in command
    assert pairs(command, "--cap-drop", 1) == [("ALL",)]
    assert pairs(command, "--json-status-fd", 1) == [("7",)]
    assert "--die-with-parent" in command and "--new-session" in command


def test_only_the_view_is_bound_and_the_root_is_read_only() -> None:
    command = bubblewrap(world(), status_fd=7)
    assert pairs(command, "--bind", 2) == [
        ("/mnt/view/usr", "/usr"),
        ("/mnt/view/dev/shm/other", "/dev/shm/other"),
        ("/mnt/view/tmp/job", "/tmp/job"),
    ]
    assert pairs(command, "--symlink", 2) == [("usr/lib", "/lib")]
    assert pairs(command, "--remount-ro", 1) == [("/",)]
    # A root below a private folder is bound after that folder was made.
    assert command.index("/mnt/view/tmp/job") > command.index("/tmp")


def test_environment_is_the_locks_over_fixed_defaults() -> None:
    variables = dict(pairs(bubblewrap(world(), status_fd=7), "--setenv", 2))
    assert variables["A"] == "1" and variables["LANG"] == "de" and variables["HOME"] == "/tmp/home"


def test_command_comes_last_and_whole() -> None:
    command = bubblewrap(world(command=["/opt/env/bin/python", "--bind", "/", "/"]), status_fd=7)
    assert command[command.index("--") + 1 :] == ["/opt/env/bin/python", "--bind", "/", "/"]


def test_without_user_namespaces_none_is_asked_for() -> None:
    command = bubblewrap(world(user_namespace=False), status_fd=7)
    assert "--unshare-user" not in command and "--uid" not in command
