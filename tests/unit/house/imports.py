"""Which module of the package imports which, read from the sources: conditional and nested imports count too."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import lanthorn

SOURCE = Path(lanthorn.__file__).parent
PACKAGE = "lanthorn"


def module_sources(source: Path = SOURCE) -> dict[str, str]:
    """Return every module's name and text; a package's `__init__` goes by the package's name."""
    modules = {}
    for path in sorted(source.rglob("*.py")):
        parts = (PACKAGE, *path.relative_to(source).with_suffix("").parts)
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return modules


def edges(modules: Mapping[str, str]) -> dict[str, set[str]]:
    """Return for each module the modules of ours that it imports."""
    packages = {name.rpartition(".")[0] for name in modules}
    return {
        name: {_existing(target, modules) for target in _targets(name, text, name in packages)} - {name, ""}
        for name, text in modules.items()
    }


def reachable(start: str, graph: Mapping[str, set[str]]) -> set[str]:
    """Return every module that is loaded, at once or later, for the modules at or below `start`.

    Importing a module runs the `__init__` of its packages, so those count.
    """
    todo = [name for name in graph if is_below(name, start)]
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += [*graph[name], *_parents(name)]
    return seen


def is_below(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _existing(target: str, modules: Mapping[str, str]) -> str:
    """`from a.b import c` names module a.b.c, or what a.b holds."""
    while target and target not in modules:
        target = target.rpartition(".")[0]
    return target


def _targets(name: str, text: str, is_package: bool) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(name, node, is_package)
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
            yield from (each.value for each in node.args if isinstance(each, ast.Constant))


def _base(name: str, node: ast.ImportFrom, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = name.split(".")
    above = parts[: len(parts) - node.level + is_package]
    return ".".join([*above, *([node.module] if node.module else [])])


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
