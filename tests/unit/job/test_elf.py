"""ELF facts against pyelftools and the files of this machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given
from hypothesis import strategies as st

from lanthorn.errors import FormatError
from lanthorn.job.closure import LibraryFinder
from lanthorn.job.elf import read_elf

PYTHON = Path(sys.executable).resolve()


def libraries() -> list[Path]:
    folders = [Path("/usr/lib/x86_64-linux-gnu"), Path("/usr/lib/aarch64-linux-gnu"), Path("/usr/lib64")]
    found = [path for folder in folders if folder.is_dir() for path in sorted(folder.glob("lib[a-m]*.so.*"))]
    return [PYTHON, *[path for path in found if not path.is_symlink()][:40]]


@pytest.mark.parametrize("path", libraries(), ids=lambda path: path.name)
def test_agrees_with_pyelftools(path: Path) -> None:
    facts = read_elf(path)
    with open(path, "rb") as file:
        elf = ELFFile(file)
        dynamic = next((s for s in elf.iter_segments() if s.header.p_type == "PT_DYNAMIC"), None)
        tags = list(dynamic.iter_tags()) if dynamic is not None else []
        interpreter = [s.get_interp_name() for s in elf.iter_segments() if s.header.p_type == "PT_INTERP"]
        needed = tuple(tag.needed for tag in tags if tag.entry.d_tag == "DT_NEEDED")
        runpath = [tag.runpath for tag in tags if tag.entry.d_tag == "DT_RUNPATH"]
        rpath = [tag.rpath for tag in tags if tag.entry.d_tag == "DT_RPATH"]
    assert facts is not None
    assert facts.needed == needed
    assert facts.search == tuple(part for text in (runpath or rpath) for part in text.split(":") if part)
    assert facts.loader == (interpreter[0] if interpreter else None)


def test_other_files_are_none(tmp_path: Path) -> None:
    for data in (b"", b"\x7fELF", b"#!/bin/sh\n", b"\x7fELF\x01\x01" + b"\0" * 100):
        (tmp_path / "f").write_bytes(data)
        assert read_elf(tmp_path / "f") is None


def test_names_in_read_only_data_are_found() -> None:
    libc = next(path for path in _closure() if "/libc.so.6" in path)
    facts = read_elf(Path(libc).resolve(), scan=True)
    assert facts is not None
    assert "libgcc_s.so.1" in facts.mentioned


def _closure() -> dict[str, None]:
    facts = read_elf(PYTHON)
    assert facts is not None
    finder = LibraryFinder(facts.machine, "", lambda path: str(Path(path).resolve()))
    return finder.follow([str(PYTHON)], {}).libraries


def test_the_closure_of_python_has_loader_and_libc() -> None:
    names = {path.rpartition("/")[2] for path in _closure()}
    assert "libc.so.6" in names
    assert any(name.startswith("ld-linux") for name in names)
    assert "libgcc_s.so.1" in names


HEAD = PYTHON.read_bytes()[:8192]


@given(st.integers(6, len(HEAD) - 1), st.binary(min_size=1, max_size=8), st.integers(6, len(HEAD)))
def test_damaged_files_are_format_errors(
    tmp_path_factory: pytest.TempPathFactory, at: int, new: bytes, end: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.so"
    path.write_bytes((HEAD[:at] + new + HEAD[at + len(new) :])[:end])
    try:
        read_elf(path, scan=True)
    except FormatError as error:
        assert "damaged ELF file" in error.message
