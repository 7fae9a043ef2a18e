"""`lanthorn inspect`: what a protected file or folder says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from lanthorn.cli._copying import key_options, load_key
from lanthorn.keys import WrapKey
from lanthorn.protected import INDEX_NAME, FileEntry, FileRange, LinkEntry, ProtectedReader, open_index
from lanthorn.protected.reader import read_node0

_NODE = 4096


@click.command("inspect")
@key_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.argument("file")
def command(key_name: str | None, key_file: str | None, as_json: bool, file: str) -> None:
    """Show the header and version id of FILE; with a key its path and size; of a folder its index.

    Without a key nothing shown is authenticated. With one, the first node is verified, the contents are not.
    """
    key = load_key(key_name, key_file) if key_name or key_file else None
    path = Path(file)
    found = _describe(path / INDEX_NAME if path.is_dir() else path, key)
    if path.is_dir() and key is not None:
        found["entries"] = _entries(path, key)
    click.echo(json.dumps(found) if as_json else _text(found))


def _describe(path: Path, key: WrapKey | None) -> dict[str, Any]:
    with FileRange.open(path) as source:
        _, header = read_node0(source, str(path))
        found: dict[str, Any] = {
            "file": str(path),
            "format": f"{header.major_version}.{header.minor_version}",
            "flags": header.flags,
            "version": header.version_id,
            "nodes": source.size() // _NODE,
            "authenticated": key is not None,
        }
        if key is not None:
            reader = ProtectedReader.open(source, key, path=None, name=str(path))
            found |= {"key_id": key.key_id, "path": reader.path, "size": reader.size}
    return found


def _entries(folder: Path, key: WrapKey) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for path, entry in open_index(folder, key, folder=None).entries.items():
        if isinstance(entry, FileEntry):
            rows.append({"path": path, "size": entry.size, "version": entry.version})
        elif isinstance(entry, LinkEntry):
            rows.append({"path": path, "link": entry.target})
        else:
            rows.append({"path": path, "folder": True})
    return rows


def _text(found: dict[str, Any]) -> str:
    lines = [f"{name:14} {_plain(value)}" for name, value in found.items() if name != "entries"]
    for row in found.get("entries", ()):
        what = f"-> {_plain(row['link'])}" if "link" in row else row.get("size", "folder")
        lines.append(f"{row.get('version', '')[:16]:16} {what!s:>14}  {_plain(row['path'])}")
    return "\n".join(lines)


def _plain(value: object) -> str:
    """Keep names from a file from driving the terminal."""
    text = str(value)
    return text if text.isprintable() else repr(text)
