"""Attempts change copies; what they were copied from must stay as it was."""

from __future__ import annotations

from pathlib import Path, PurePath

from lanthorn.demo.copies import flip_bit, flip_bit_in_place, link_or_copy, look_alike


def _environment(top: Path) -> Path:
    for name, data in {
        "lib/a/one.so": b"one",
        "lib/a/two.so": b"two",
        "lib/b/three.py": b"3",
        "cfg": b"x",
    }.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(data)
    (top / "lib64").symlink_to("lib")
    (top / "lib" / "a" / "latest").symlink_to("one.so")
    return top


def _contents(top: Path) -> dict[str, bytes]:
    names = ("lib/a/one.so", "lib/a/two.so", "lib/a/latest", "lib/b/three.py", "lib64/b/three.py", "cfg")
    return {name: (top / name).read_bytes() for name in names}


def test_look_alike_reads_the_same_and_changes_alone(tmp_path: Path) -> None:
    source = _environment(tmp_path / "source")
    before = _contents(source)
    copy = tmp_path / "copy"
    own = look_alike(source, copy, PurePath("lib/a/one.so"))
    assert own == copy / "lib/a/one.so" and _contents(copy) == before
    assert not own.is_symlink() and own.stat().st_ino != (source / "lib/a/one.so").stat().st_ino
    for folder in ("lib", "lib/a"):
        assert not (copy / folder).is_symlink()
    flip_bit_in_place(own, -1)
    assert own.read_bytes() == b"ond" and _contents(source) == before
    own.unlink()
    assert _contents(source) == before


def test_flip_bit_leaves_other_names_of_the_file_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    link_or_copy(str(tmp_path / "a"), str(tmp_path / "b"))
    flip_bit(tmp_path / "b", 1)
    assert (tmp_path / "a").read_bytes() == b"abc" and (tmp_path / "b").read_bytes() == b"acc"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
