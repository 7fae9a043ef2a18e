"""What a package promises is what it exports; and the error tree is what its drawing says."""

from __future__ import annotations

import importlib
import pkgutil
import re
import types

import pytest

import lanthorn
from lanthorn import errors

PACKAGES = [
    module.name
    for module in pkgutil.walk_packages(lanthorn.__path__, "lanthorn.")
    if module.ispkg and not module.name.startswith("lanthorn.cli")
]


@pytest.mark.parametrize("name", PACKAGES)
def test_all_is_what_is_importable(name: str) -> None:
    package = importlib.import_module(name)
    exported = {
        each
        for each, value in vars(package).items()
        if not each.startswith("_") and each != "annotations" and not _submodule(package, value)
    }
    assert exported == set(getattr(package, "__all__", ()))


def _submodule(package: types.ModuleType, value: object) -> bool:
    return isinstance(value, types.ModuleType) and value.__name__.startswith(f"{package.__name__}.")


_LINE = re.compile(r"^    (?P<lead>[│ ├└─]*)(?P<name>\w*Error) +(?P<code>\d+)", re.MULTILINE)


def drawn() -> dict[str, tuple[str | None, int]]:
    """Return each error's parent and exit code, as drawn in the module's docstring."""
    tree: dict[str, tuple[str | None, int]] = {}
    above: list[str] = []
    for match in _LINE.finditer(errors.__doc__ or ""):
        depth = len(match["lead"]) // 4
        above[depth:] = [match["name"]]
        tree[match["name"]] = (above[depth - 1] if depth else None, int(match["code"]))
    return tree


def test_the_drawing_of_the_error_tree_is_true() -> None:
    classes = {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.Error)
    }
    real = {
        name: (value.__base__.__name__ if value is not errors.Error else None, value.exit_code)
        for name, value in classes.items()
    }
    assert drawn() == real


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [code for _, code in drawn().values()]
    assert len(codes) == len(set(codes)) > 10
    # 125 and 130 are taken by `lanthorn run` and Ctrl-C, 126 and above by shells.
    assert all(0 < code < 125 for code in codes)
