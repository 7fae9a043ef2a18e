"""The world as the program will see it: every absolute path that trusted roots provide.

`assemble` turns a lock, the store beside it and the roots' locations into one table of nodes. It reads the
lists, whose digests it checks; it opens none of the trusted files and hashes none of them: whoever serves a
node checks each chunk against the node's leaves, and the leaves against its root (`verified_leaves`) once
before.

This is on the path of every run and holds some 20,000 nodes, so a file's node is two references into the
parsed list.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lanthorn.errors import ManifestError
from lanthorn.job import tree
from lanthorn.job.lock import BYTECODE, Lock, RootSummary
from lanthorn.job.nodes import FileNode, FolderNode, LinkNode, LiteralNode, Node, Pack, SliceNode, Source
from lanthorn.job.paths import ROOTS, all_clean, contains
from lanthorn.job.store import LockStore
from lanthorn.job.trusted import LIST_VERSION

__all__ = [
    "FileNode",
    "FolderNode",
    "LinkNode",
    "LiteralNode",
    "Node",
    "Pack",
    "SliceNode",
    "View",
    "assemble",
    "checked_locations",
]

FORBIDDEN_LOCATIONS = ("/proc", "/dev", "/sys")


class View:
    """The nodes by absolute path, with the paths that start the program."""

    def __init__(self, locations: Mapping[str, str]) -> None:
        self.nodes: dict[str, Node] = {"/": FolderNode()}
        self.locations = locations
        self.program = ""

    def put(self, path: str, node: Node) -> None:
        """Add a node and the folders above it. Raises `ManifestError` when the path is taken."""
        if self.nodes.setdefault(path, node) is not node:
            raise ManifestError(f"two trusted roots both provide {path}")
        folder, _, name = path.rpartition("/")
        self._folder(folder or "/").add(name)

    def _folder(self, path: str) -> FolderNode:
        node = self.nodes.get(path)
        if type(node) is FolderNode:
            return node
        if node is not None:
            raise ManifestError(f"{path} is both a file and a folder of trusted roots")
        made = FolderNode()
        self.put(path, made)
        return made


def assemble(lock: Lock, store: Path, locations: Mapping[str, Path]) -> View:
    """Lay out the trusted roots of `lock` at `locations`, which override those that the lock suggests.

    Checks the lists against the lock, that every path in them is relative and normalised, and that the roots
    don't get in each other's way. Raises `ManifestError` naming the root or file; reads nothing of the roots
    themselves.
    """
    view = View(checked_locations(lock, locations))
    files = LockStore(store)
    for root in ROOTS:
        _add_root(view, lock.roots[root], files)
    _add_bytecode(view, lock.roots[BYTECODE], files)
    if lock.python.venv:
        _add_venv(view, lock)
    view.program = _join(view.locations[lock.program.root], lock.program.path)
    if view.program not in view.nodes:
        raise ManifestError(f"the lock's program is none of its trusted files: {view.program}")
    for entry in lock.protected:
        _refuse_covered(view, _join(view.locations["job"], entry.path))
    return view


def checked_locations(lock: Lock, locations: Mapping[str, Path]) -> dict[str, str]:
    """Return where each root lies. Raises `ManifestError` for a missing, relative or impossible place."""
    merged = {**lock.locations, **locations}
    if unknown := sorted(set(merged) - set(ROOTS)):
        raise ManifestError(f"{unknown[0]!r} is not a root: expected one of {', '.join(ROOTS)}")
    places = {root: _checked_location(root, merged.get(root)) for root in ROOTS}
    shared = places["environment"] == places["interpreter"]
    if shared == lock.python.venv or places["job"] in (places["environment"], places["interpreter"]):
        raise ManifestError(
            f"roots lie on one another: job {places['job']}, environment {places['environment']}, "
            f"interpreter {places['interpreter']}"
        )
    return places


def _checked_location(root: str, place: Path | None) -> str:
    if place is None:
        raise ManifestError(f"no location is known for root {root!r}")
    text = str(place)
    if not text.startswith("/") or (text != "/" and not all_clean([text[1:]])):
        raise ManifestError(f"location of root {root!r} is not an absolute, normalised path: {text!r}")
    if text == "/" and root != "system":
        raise ManifestError(f"root {root!r} cannot be /")
    if any(contains(folder, text) for folder in FORBIDDEN_LOCATIONS):
        raise ManifestError(
            f"root {root!r} cannot be at {text}: the program has its own {text.split('/')[1]}"
        )
    return text


def _add_root(view: View, summary: RootSummary, store: LockStore) -> None:
    value = _parsed(summary, store.list_of(summary))
    leaves = memoryview(store.trees_of(summary))
    place = view.locations[summary.name]
    inner = [other for other in view.locations.values() if other != place and contains(place, other)]
    try:
        groups = value["groups"]
        expected = _add_groups(view, groups, _join(place, ""), leaves)
        for other in inner if summary.name != "system" else []:
            _refuse_inner(groups, place, other)
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise _malformed(summary) from error
    _check_length(summary, leaves, expected)


def _refuse_inner(groups: list[dict[str, Any]], place: str, other: str) -> None:
    """Refuse a root placed in a folder that another root fills: it would add names there."""
    inside = other[len(place) + 1 :] + "/"
    if any(row[0].startswith(inside) for group in groups for row in group["files"]):
        raise ManifestError(f"roots lie on one another: {other} is a folder of the root at {place}")


def _add_groups(view: View, groups: list[dict[str, Any]], prefix: str, leaves: memoryview) -> int:
    """Add every file and link of a root; return how many leaves they have in all."""
    at = 0
    put = view.put
    for group in groups:
        rows, links = group["files"], group["links"]
        if not all_clean([row[0] for row in rows]) or not all_clean([row[0] for row in links]):
            raise ValueError("a path leads out of its root")
        source = Source(prefix, leaves, f"{group['name']} {group['version']}".strip())
        for row in rows:
            put(prefix + row[0], FileNode(row, source, at))
            if row[1] < 0:
                raise ValueError("a size is negative")
            at -= -row[1] // tree.CHUNK
        for row in links:
            put(prefix + row[0], LinkNode(row[1] if len(row) == 2 else _link_target(view, row)))
    return at


def _link_target(view: View, row: list[str]) -> str:
    _, root, path = row
    if not all_clean([path]):
        raise ValueError("a link leads out of its root")
    return _join(view.locations[root], path)


def _add_bytecode(view: View, summary: RootSummary, store: LockStore) -> None:
    value = _parsed(summary, store.list_of(summary))
    leaves = memoryview(store.trees_of(summary))
    try:
        host = str(store.path(summary.digest, ".pycs").absolute())
        pack = Pack(host, value["size"], bytes.fromhex(value["tree"]), leaves)
        entries = value["entries"]
        if not all_clean([entry[1] for entry in entries]):
            raise ValueError("a path leads out of its root")
        prefixes = {root: _join(place, "") for root, place in view.locations.items()}
        for root, path, offset, size in entries:
            if not 0 <= offset <= offset + size <= pack.size:
                raise ValueError("an entry leads out of the pack")
            view.put(prefixes[root] + path, SliceNode(pack, offset, size, path))
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise _malformed(summary) from error
    _check_length(summary, leaves, tree.leaf_count(pack.size))


def _add_venv(view: View, lock: Lock) -> None:
    """Make what installation would generate: links to the interpreter, and pyvenv.cfg."""
    environment, interpreter = view.locations["environment"], view.locations["interpreter"]
    executable = _join(interpreter, lock.python.executable)
    for name in interpreter_names(lock.python.version):
        view.put(_join(environment, f"bin/{name}"), LinkNode(executable))
    settings = (
        f"home = {executable.rpartition('/')[0]}\n"
        "include-system-site-packages = false\n"
        f"version = {lock.python.version}\n"
    )
    view.put(_join(environment, "pyvenv.cfg"), LiteralNode(settings.encode("utf-8", "surrogateescape")))


def interpreter_names(version: str) -> tuple[str, ...]:
    """Return the names that an environment's interpreter goes by: python, python3, python3.11."""
    major, minor = [*version.split("."), ""][:2]
    return ("python", f"python{major}", f"python{major}.{minor}")


def _refuse_covered(view: View, path: str) -> None:
    if path in view.nodes:
        raise ManifestError(f"{path} is both a trusted file and a protected one")
    while path := path.rpartition("/")[0]:
        if not isinstance(view.nodes.get(path), FolderNode | None):
            raise ManifestError(f"{path} is a trusted file, but a protected path lies below it")


def _parsed(summary: RootSummary, data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
        if value["root"] != summary.name or value["version"] != LIST_VERSION:
            raise ValueError("another root or version")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _malformed(summary) from error
    checked: dict[str, Any] = value
    return checked


def _malformed(summary: RootSummary) -> ManifestError:
    return ManifestError(f"the list of root {summary.name!r} is malformed: {summary.digest}.list")


def _check_length(summary: RootSummary, leaves: memoryview, expected: int) -> None:
    if len(leaves) != expected * tree.DIGEST:
        raise ManifestError(
            f"the hash trees of root {summary.name!r} were changed: {summary.digest}.trees: "
            f"expected {expected * tree.DIGEST} bytes, got {len(leaves)}"
        )


def _join(place: str, path: str) -> str:
    return f"{place.rstrip('/')}/{path}"
