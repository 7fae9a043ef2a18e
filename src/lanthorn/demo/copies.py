"""Copies that cost nothing until they are changed: attempts must never touch what the next one needs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePath


def link_or_copy(source: str, destination: str) -> str:
    """Give a file a second name, or copy it where that is impossible."""
    try:
        os.link(source, destination)
    except OSError:
        shutil.copyfile(source, destination)
    return destination


def replace(path: Path, data: bytes) -> None:
    """Put a new file where `path` is: other names of the old one keep its bytes."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_bytes(data)
    os.replace(fresh, path)


def flip_bit(path: Path, offset: int) -> None:
    """Flip one bit; a negative offset counts from the end."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    replace(path, bytes(data))


def flip_bit_in_place(path: Path, offset: int) -> None:
    """Flip one bit of the very file that somebody has open. Only for a copy with no other name."""
    with open(path, "r+b") as file:
        file.seek(offset, os.SEEK_END if offset < 0 else os.SEEK_SET)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def look_alike(source: Path, destination: Path, inside: PurePath) -> Path:
    """Make a folder that reads as `source` does and has a copy of its own of the file `inside`; return that.

    Folders on the way are real, everything beside the way is a link: `source` itself is never written to.
    """
    for part in inside.parts:
        destination.mkdir(parents=True, exist_ok=True)
        for entry in os.scandir(source):
            if entry.name != part:
                _stand_in(entry, destination / entry.name)
        source, destination = source / part, destination / part
    shutil.copyfile(source, destination)
    return destination


def _stand_in(entry: os.DirEntry[str], destination: Path) -> None:
    if entry.is_dir():
        os.symlink(os.path.realpath(entry.path), destination)
    elif entry.is_symlink():
        os.symlink(os.readlink(entry.path), destination)
    else:
        link_or_copy(entry.path, str(destination))
