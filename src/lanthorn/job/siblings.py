"""Notice modules of the job's folder that its locked files import but that nobody listed."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable

MAX_SOURCE_BYTES = 16 << 20


def unlisted(script_folder: str, files: Iterable[str]) -> list[str]:
    """Return the paths of modules beside the script that `files` import and do not contain.

    Python looks for a script's imports in its own folder first. Imports made up at run time are not seen, and
    a file that does not parse imports nothing.
    """
    listed = set(files)
    names = sorted({name for path in listed if path.endswith(".py") for name in _imported(path)})
    candidates = [
        os.path.join(script_folder, name + end) for name in names for end in (".py", "/__init__.py")
    ]
    return [path for path in candidates if path not in listed and os.path.isfile(path)]


def _imported(path: str) -> set[str]:
    try:
        with open(path, "rb") as file:
            module = ast.parse(file.read(MAX_SOURCE_BYTES))
    except (OSError, SyntaxError, ValueError, RecursionError):
        return set()
    found: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found
