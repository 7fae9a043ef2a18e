"""The view: what the program will see, and stores and places that are refused."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from lanthorn.errors import IntegrityError, ManifestError
from lanthorn.job import tree
from lanthorn.job.bytecode import pyc_path
from lanthorn.job.lock import Lock, RootSummary
from lanthorn.job.trusted import digest_of
from lanthorn.job.view import FileNode, FolderNode, LinkNode, LiteralNode, SliceNode, assemble

from .conftest import Workshop


def test_every_path_is_there(workshop: Workshop, python_name: str) -> None:
    lock = workshop.lock()
    view = assemble(lock, workshop.store, {})
    environment = str(workshop.environment)
    assert view.program == f"{environment}/bin/python"
    # (1) files, at their ordinary paths, with leaves that hold for what is on the disk
    data = view.nodes[f"{workshop.site}/fakelib/data.bin"]
    assert isinstance(data, FileNode)
    assert (data.size, data.mode, data.name) == (
        70000,
        0o644,
        f"fakelib 1.0: {_inside(workshop)}/fakelib/data.bin",
    )
    assert data.host == f"{workshop.site}/fakelib/data.bin"
    assert data.verified_leaves() == tree.leaves_of(Path(data.host).read_bytes())
    assert {f"{workshop.folder}/main.py", f"{workshop.folder}/lib/helper.py"} <= view.nodes.keys()
    # (2) what installation generates is made anew, or is not there
    link = view.nodes[f"{environment}/bin/{python_name}"]
    assert isinstance(link, LinkNode)
    assert isinstance(view.nodes[link.target], FileNode)
    settings = view.nodes[f"{environment}/pyvenv.cfg"]
    assert isinstance(settings, LiteralNode)
    assert f"home = {workshop.interpreter}/bin\n".encode() in settings.data
    assert not [path for path in view.nodes if path.endswith(("/RECORD", "/INSTALLER", "/activate"))]
    # (3) bytecode lies where an import looks for it
    compiled = view.nodes[
        f"{workshop.environment}/{pyc_path(f'{_inside(workshop)}/other.py', lock.python.cache_tag)}"
    ]
    assert isinstance(compiled, SliceNode)
    with open(compiled.pack.host, "rb") as file:
        assert os.pread(file.fileno(), 4, compiled.offset + 4) == b"\x01\0\0\0"
    compiled.pack.verified_leaves()
    # (4) the job's own secrets and settings are no trusted files
    assert not [path for path in view.nodes if path.endswith(("photo.png", "lanthorn.toml", "lanthorn.lock"))]


def _inside(workshop: Workshop) -> str:
    return str(workshop.site.relative_to(workshop.environment))


def test_folders_list_what_lies_in_them(workshop: Workshop) -> None:
    view = assemble(workshop.lock(), workshop.store, {})
    for path, node in view.nodes.items():
        if isinstance(node, FolderNode):
            inside = {
                other.rpartition("/")[2] for other in view.nodes if other != "/" and _parent(other) == path
            }
            assert node.children == sorted(inside)
        else:
            parent = view.nodes[_parent(path)]
            assert isinstance(parent, FolderNode)


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def test_links_lead_to_nodes(workshop: Workshop) -> None:
    (workshop.site / "fakelib" / "alias.bin").symlink_to("data.bin")
    (workshop.site / "other_alias").symlink_to(workshop.site / "fakelib")
    view = assemble(workshop.lock(), workshop.store, {})
    links = {path: node.target for path, node in view.nodes.items() if isinstance(node, LinkNode)}
    assert links[f"{workshop.site}/fakelib/alias.bin"] == "data.bin"
    assert links[f"{workshop.site}/other_alias"] == f"{workshop.site}/fakelib"
    for path, target in links.items():
        joined = os.path.normpath(os.path.join(_parent(path), target))
        assert joined in view.nodes or os.path.realpath(joined) in view.nodes


def test_roots_can_be_served_from_elsewhere(workshop: Workshop, tmp_path: Path) -> None:
    lock = workshop.lock()
    view = assemble(lock, workshop.store, {"environment": Path("/srv/env")})
    assert view.program == "/srv/env/bin/python"
    assert any(path.startswith("/srv/env/lib/") for path in view.nodes)


@pytest.mark.parametrize(
    ("root", "place", "words"),
    [
        ("environment", "relative/env", "absolute"),
        ("environment", "/srv/../etc", "normalised"),
        ("environment", "/proc/self/root", "cannot be at"),
        ("job", "/dev", "cannot be at"),
        ("interpreter", "/sys/x", "cannot be at"),
        ("job", "/", "cannot be /"),
        ("bytecode", "/srv", "not a root"),
    ],
)
def test_odd_places_are_refused(workshop: Workshop, root: str, place: str, words: str) -> None:
    lock = workshop.lock()
    with pytest.raises(ManifestError, match=words):
        assemble(lock, workshop.store, {root: Path(place)})


def test_roots_on_one_another_are_refused(workshop: Workshop) -> None:
    lock = workshop.lock()
    for places in (
        {"environment": workshop.interpreter},
        {"job": workshop.environment},
        {"environment": workshop.folder / "lib"},
        {"job": workshop.site / "fakelib"},
        {
            "job": workshop.environment / "lib" / "x",
            "environment": workshop.folder,
            "interpreter": workshop.folder,
        },
    ):
        with pytest.raises(ManifestError, match="lie on one another"):
            assemble(lock, workshop.store, places)


@pytest.mark.parametrize("root", ["job", "environment", "interpreter", "system", "bytecode"])
@pytest.mark.parametrize("suffix", [".list", ".trees"])
def test_a_damaged_store_is_refused(workshop: Workshop, root: str, suffix: str) -> None:
    lock = workshop.lock()
    path = workshop.store / (lock.roots[root].digest + suffix)
    data = path.read_bytes()
    path.write_bytes(data + b"\0" * 32)
    with pytest.raises(ManifestError, match=f"'{root}'"):
        assemble(lock, workshop.store, {})
    path.unlink()
    with pytest.raises(ManifestError, match=f"'{root}'"):
        assemble(lock, workshop.store, {})
    if suffix == ".list":
        path.write_bytes(data.replace(b"1", b"2", 1))
        with pytest.raises(ManifestError, match="was changed"):
            assemble(lock, workshop.store, {})


def test_false_leaves_are_refused_when_used(workshop: Workshop) -> None:
    lock = workshop.lock()
    for root, name in (("environment", "data.bin"), ("bytecode", "")):
        path = workshop.store / f"{lock.roots[root].digest}.trees"
        data = bytearray(path.read_bytes())
        path.write_bytes(bytes(len(data)))
        view = assemble(lock, workshop.store, {})
        path.write_bytes(data)
        node = next(
            node
            for node in view.nodes.values()
            if (isinstance(node, FileNode) and name and node.host.endswith(name))
            or (isinstance(node, SliceNode) and not name)
        )
        with pytest.raises(IntegrityError, match="does not match the lock"):
            (node if isinstance(node, FileNode) else node.pack).verified_leaves()


def _with_list(workshop: Workshop, lock: Lock, root: str, value: object) -> Lock:
    """A lock that names another list, as a hostile author could write one."""
    data = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    (workshop.store / f"{digest_of(data)}.list").write_bytes(data)
    (workshop.store / f"{digest_of(data)}.trees").write_bytes(b"")
    summary = RootSummary(root, 0, 0, digest_of(data))
    return dataclasses.replace(lock, roots={**lock.roots, root: summary})


GROUP = {"name": "job", "version": "", "files": [], "links": []}
EMPTY = ["x", 0, False, "00" * 32, "00" * 32]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "malformed"),
        ({"root": "system", "version": 1, "groups": []}, "malformed"),
        ({"root": "job", "version": 2, "groups": []}, "malformed"),
        ({"root": "job", "version": 1, "groups": [1]}, "malformed"),
        ({"root": "job", "version": 1, "groups": [{**GROUP, "files": [["../x", *EMPTY[1:]]]}]}, "malformed"),
        ({"root": "job", "version": 1, "groups": [{**GROUP, "files": [["x"]]}]}, "malformed"),
        ({"root": "job", "version": 1, "groups": [{**GROUP, "files": [["x", -1, *EMPTY[2:]]]}]}, "malformed"),
        ({"root": "job", "version": 1, "groups": [{**GROUP, "links": [["/x", "y"]]}]}, "malformed"),
        ({"root": "job", "version": 1, "groups": [{**GROUP, "links": [["x", "nowhere", "y"]]}]}, "malformed"),
        (
            {"root": "job", "version": 1, "groups": [{**GROUP, "links": [["x", "system", "../y"]]}]},
            "malformed",
        ),
        ({"root": "job", "version": 1, "groups": [{**GROUP, "files": [EMPTY, EMPTY]}]}, "both provide"),
        (
            {"root": "job", "version": 1, "groups": [{**GROUP, "files": [EMPTY, ["x/y", *EMPTY[1:]]]}]},
            "both a file",
        ),
        (
            {"root": "job", "version": 1, "groups": [{**GROUP, "files": [["photo.png", *EMPTY[1:]]]}]},
            "protected",
        ),
        ({"root": "job", "version": 1, "groups": [{**GROUP, "files": [["x", 1, *EMPTY[2:]]]}]}, "hash trees"),
    ],
)
def test_hostile_lists_are_refused(workshop: Workshop, value: object, words: str) -> None:
    lock = _with_list(workshop, workshop.lock(), "job", value)
    with pytest.raises(ManifestError, match=words):
        assemble(lock, workshop.store, {})


@pytest.mark.parametrize(
    "value",
    [
        {"root": "bytecode", "version": 1, "size": 9, "tree": "zz", "entries": []},
        {"root": "bytecode", "version": 1, "size": 9, "tree": "00", "entries": [["environment", "a", 8, 2]]},
        {"root": "bytecode", "version": 1, "size": 9, "tree": "00", "entries": [["environment", "a", -1, 2]]},
        {"root": "bytecode", "version": 1, "size": 9, "tree": "00", "entries": [["environment", "a", 5, -5]]},
        {"root": "bytecode", "version": 1, "size": 9, "tree": "00", "entries": [["nowhere", "a", 1, 2]]},
        {"root": "bytecode", "version": 1, "size": 9, "tree": "00", "entries": [["job", "../a", 1, 2]]},
    ],
)
def test_hostile_packs_are_refused(workshop: Workshop, value: object) -> None:
    lock = _with_list(workshop, workshop.lock(), "bytecode", value)
    with pytest.raises(ManifestError, match="malformed"):
        assemble(lock, workshop.store, {})
