"""What an ELF file says about the libraries it loads: DT_NEEDED, search paths, loader, names in its read-only
data.

A small parser of its own: it maps the file and touches some kilobytes of a 434 MB library. Sources: System V
ABI, chapters 4 and 5 (ELF-64), and the Linux extensions DT_RUNPATH and PT_INTERP. 32-bit and big-endian files
are not read.
"""

from __future__ import annotations

import mmap
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from lanthorn.errors import FormatError
from lanthorn.storage import storage_errors

MAGIC = b"\x7fELF"
MAX_HEADERS = 4096
MAX_DYNAMIC = 65536
MAX_STRING = 4096
MAX_SCANNED = 64 << 20
"""Read-only data beyond this is not searched for names of libraries."""

_CLASS64_LITTLE = b"\x7fELF\x02\x01"
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NULL, _DT_NEEDED, _DT_STRTAB, _DT_SONAME, _DT_RPATH, _DT_RUNPATH = 0, 1, 5, 14, 15, 29
_SHF_WRITE, _SHF_ALLOC, _SHF_EXECINSTR = 1, 2, 4
_SHT_PROGBITS = 1
_LIBRARY = re.compile(rb"(?<=\0)lib[A-Za-z0-9_+.-]{1,60}\.so(?:\.[0-9]{1,6}){0,3}(?=\0)")


@dataclass(frozen=True)
class ElfFacts:
    """`search` is DT_RUNPATH, or DT_RPATH where there is none, with $ORIGIN not yet expanded."""

    machine: int
    needed: tuple[str, ...]
    search: tuple[str, ...]
    loader: str | None
    mentioned: tuple[str, ...]


def read_elf(path: Path | str, *, scan: bool = False) -> ElfFacts | None:
    """Return the facts of a 64-bit little-endian ELF file, or None for anything else.

    With `scan`, `mentioned` has the names of libraries in read-only data, which a dlopen may ask for.
    Raises `FormatError` for a damaged file, `StorageError` when it cannot be read.
    """
    with storage_errors("read", path), open(path, "rb") as file:
        if file.read(6) != _CLASS64_LITTLE:
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return _facts(data, scan)
            except (struct.error, ValueError, IndexError, OverflowError) as error:
                raise FormatError(f"damaged ELF file: {path}: {error}") from error


def _facts(data: mmap.mmap, scan: bool) -> ElfFacts:
    (machine,) = struct.unpack_from("<H", data, 18)
    headers = _program_headers(data)
    dynamic = _dynamic(data, headers)
    strings = _offset(headers, dynamic[_DT_STRTAB][0]) if _DT_STRTAB in dynamic else 0
    texts = {tag: [_string(data, strings + at) for at in dynamic.get(tag, [])] for tag in _TEXT_TAGS}
    search = texts[_DT_RUNPATH] or texts[_DT_RPATH]
    return ElfFacts(
        machine=machine,
        needed=tuple(texts[_DT_NEEDED]),
        search=tuple(part for text in search for part in text.split(":") if part),
        loader=next((_string(data, offset) for kind, offset, *_ in headers if kind == _PT_INTERP), None),
        mentioned=_mentioned(data) if scan else (),
    )


_TEXT_TAGS = (_DT_NEEDED, _DT_RPATH, _DT_RUNPATH)
_Header = tuple[int, int, int, int]


def _program_headers(data: mmap.mmap) -> list[_Header]:
    """Return (type, file offset, virtual address, size in the file) of each program header."""
    (table,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    if count > MAX_HEADERS:
        raise ValueError(f"{count} program headers, over the limit of {MAX_HEADERS}")
    headers = []
    for at in range(table, table + size * count, size or 1):
        kind, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", data, at)
        headers.append((kind, offset, address, length))
    return headers


def _dynamic(data: mmap.mmap, headers: list[_Header]) -> dict[int, list[int]]:
    entries: dict[int, list[int]] = {}
    for kind, offset, _, length in headers:
        if kind != _PT_DYNAMIC:
            continue
        for at in range(offset, offset + min(length, MAX_DYNAMIC * 16), 16):
            tag, value = struct.unpack_from("<qQ", data, at)
            if tag == _DT_NULL:
                break
            entries.setdefault(tag, []).append(value)
    return entries


def _offset(headers: list[_Header], address: int) -> int:
    for kind, offset, start, length in headers:
        if kind == _PT_LOAD and start <= address < start + length:
            return offset + address - start
    raise ValueError(f"address {address:#x} lies in no segment")


def _string(data: mmap.mmap, at: int) -> str:
    end = data.find(b"\0", at, at + MAX_STRING)
    if end < 0:
        raise ValueError(f"string at {at:#x} does not end")
    return data[at:end].decode("utf-8")


def _mentioned(data: mmap.mmap) -> tuple[str, ...]:
    """Search read-only data sections, or nothing in a file without section headers."""
    (table,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    names: set[bytes] = set()
    for at in range(table, table + size * min(count, MAX_HEADERS), size or 1):
        _, kind, flags, _, offset, length = struct.unpack_from("<IIQQQQ", data, at)
        # Strings of constants: allocated, neither writable nor code.
        wanted = flags & (_SHF_WRITE | _SHF_ALLOC | _SHF_EXECINSTR) == _SHF_ALLOC
        if kind == _SHT_PROGBITS and wanted:
            names.update(_LIBRARY.findall(data, offset, offset + min(length, MAX_SCANNED)))
    return tuple(sorted(name.decode("ascii") for name in names))
