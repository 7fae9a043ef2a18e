"""What the kernel says of processes: children, and whether one that closes its files was killed."""

from __future__ import annotations

# proc(5), /proc/pid/stat: fields are counted from 1, and the second, the name, may hold spaces and parentheses.
_FLAGS = 9
_EXIT_CODE = 52
_PF_EXITING = 0x4
_SIGNAL_MASK = 0x7F


def killed_by_signal(pid: int) -> bool:
    """Tell whether `pid` is ending because of a signal: then the kernel closes its files, not the program."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return False
    return bool(int(fields[_FLAGS - 3]) & _PF_EXITING and int(fields[_EXIT_CODE - 3]) & _SIGNAL_MASK)


def children(pid: int) -> list[int]:
    """Return the children of a process; none when it has gone."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []
