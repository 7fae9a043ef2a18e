"""Bytecode made from locked sources: the same bytes on every machine, so that start-up needs no compiling.

Every `.py` of environment and interpreter is compiled by the job's own interpreter into a hash-based pyc that
is never compared with its source (PEP 552, flags 0b01: the lock has both). CPython's compiler gives the same
code everywhere, but its serialisation depends on where the source lay and on how often a string happens to be
in use. So the worker compiles under a fixed file name (an import sets the right one), and writes with every
reference count brought into one state: see `_WORKER`. Results are kept by source digest in the user's cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lanthorn.errors import ManifestError
from lanthorn.job import tree
from lanthorn.job.interpreter import Interpreter
from lanthorn.job.trusted import LIST_VERSION, encode_list
from lanthorn.storage import storage_errors

RECIPE = 1
"""Changed whenever `_WORKER` would write other bytes from the same source."""

# Two round trips make marshal's output a function of the source alone. Version 2 knows no references, so
# reading it back gives every constant an object of its own; then all strings are held in a list, so that each
# counts as shared, and version 4 writes its references in an order that no other use of the strings can
# disturb. Version 2 alone would load 1.4 times slower than an ordinary pyc; this loads as fast. One-character
# strings live once in the interpreter and may or may not be interned by then: they are interned first.
_WORKER = r"""
import _imp, hashlib, marshal, os, sys
from importlib._bootstrap_external import MAGIC_NUMBER, _RAW_MAGIC_NUMBER
for number in range(256):
    sys.intern(chr(number))
sys.intern("")
Code = type(compile("", "", "exec"))
def hold(value, held):
    kind = type(value)
    if kind is str:
        held.append(value)
    elif kind is tuple or kind is frozenset:
        for item in value:
            hold(item, held)
    elif kind is Code:
        held += (value.co_name, value.co_filename, getattr(value, "co_qualname", ""))
        held += value.co_names + value.co_varnames + value.co_freevars + value.co_cellvars
        for item in value.co_consts:
            hold(item, held)
def pyc(source):
    code = compile(source, "<locked>", "exec", dont_inherit=True, optimize=0)
    code = marshal.loads(marshal.dumps(code, 2))
    held = []
    hold(code, held)
    head = MAGIC_NUMBER + (1).to_bytes(4, "little") + _imp.source_hash(_RAW_MAGIC_NUMBER, source)
    return head + marshal.dumps(code, 4)
folder = sys.argv[1]
for line in sys.stdin.buffer:
    digest, path = line[:64].decode(), line[65:-1]
    with open(path, "rb") as file:
        source = file.read()
    if hashlib.sha256(source).hexdigest() != digest:
        sys.exit("changed while it was locked: " + os.fsdecode(path))
    try:
        data = pyc(source)
    except (SyntaxError, ValueError, RecursionError, OverflowError):
        data = b""
    temporary = os.path.join(folder, digest[:2], "%s.%d" % (digest, os.getpid()))
    with open(temporary, "wb") as file:
        file.write(hashlib.sha256(data).digest() + data)
    os.rename(temporary, os.path.join(folder, digest[:2], digest))
"""


@dataclass(frozen=True)
class Source:
    """A locked `.py`: its root and path there, its SHA-256, and where it lies now."""

    root: str
    path: str
    sha256: str
    host: str


@dataclass(frozen=True)
class BytecodePack:
    """All the bytecode in one file, with its list and leaves."""

    list_bytes: bytes
    data: bytes
    leaves: bytes
    count: int


def make_pack(python: Interpreter, sources: Iterable[Source], cache: Path) -> BytecodePack:
    """Compile what the cache lacks and return the pack. Sources that are not valid Python are left out.

    The cache belongs to the user who locks and is as trusted as that user; each entry carries a checksum.
    Raises `ManifestError` when compiling fails.
    """
    ordered = sorted(
        sources, key=lambda source: (source.root, source.path.encode("utf-8", "surrogateescape"))
    )
    folder = cache / f"bytecode-{RECIPE}-{python.cache_tag}-{python.version}"
    with storage_errors("use the cache", folder):
        found = _from_cache(folder, ordered)
        if missing := {s.sha256: s.host for s in ordered if s.sha256 not in found}:
            _compile(python, missing, folder)
            found.update(_from_cache(folder, [s for s in ordered if s.sha256 in missing]))
    return _pack(python, ordered, found)


def pyc_path(source: str, cache_tag: str) -> str:
    """Return where an import looks for the bytecode of a source (PEP 3147)."""
    folder, _, name = source.rpartition("/")
    return f"{folder}/__pycache__/{name.removesuffix('.py')}.{cache_tag}.pyc".lstrip("/")


def _pack(python: Interpreter, sources: list[Source], found: Mapping[str, bytes]) -> BytecodePack:
    entries: list[list[object]] = []
    parts: list[bytes] = []
    offset = 0
    for source in sources:
        data = found.get(source.sha256)
        if data is None:
            raise ManifestError(f"no bytecode was made from {source.host}")
        if data:
            entries.append([source.root, pyc_path(source.path, python.cache_tag), offset, len(data)])
            parts.append(data)
            offset += len(data)
    pack = b"".join(parts)
    leaves = tree.leaves_of(pack)
    listing = encode_list(
        {
            "entries": entries,
            "root": "bytecode",
            "size": len(pack),
            "tree": tree.root(leaves).hex(),
            "version": LIST_VERSION,
        }
    )
    return BytecodePack(listing, pack, leaves, len(entries))


def _from_cache(folder: Path, sources: Iterable[Source]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for source in sources:
        with contextlib.suppress(FileNotFoundError):
            entry = (folder / source.sha256[:2] / source.sha256).read_bytes()
            if hashlib.sha256(entry[32:]).digest() == entry[:32]:
                found[source.sha256] = entry[32:]
    return found


def _compile(python: Interpreter, missing: Mapping[str, str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for number in range(256):
        (folder / f"{number:02x}").mkdir(exist_ok=True)
    lines = [os.fsencode(f"{digest} {host}\n") for digest, host in sorted(missing.items())]
    workers = min(os.cpu_count() or 1, len(lines))
    failures: list[str] = []
    threads = [
        threading.Thread(target=_work, args=(python, folder, b"".join(lines[at::workers]), failures))
        for at in range(workers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise ManifestError(f"cannot make bytecode: {failures[0]}")


def _work(python: Interpreter, folder: Path, lines: bytes, failures: list[str]) -> None:
    # -S: an environment's start-up code has no say in what its bytecode is.
    command = [python.command, "-I", "-S", "-B", "-W", "ignore", "-c", _WORKER, str(folder)]
    try:
        done = subprocess.run(command, input=lines, capture_output=True, check=False)  # noqa: S603 - as in probe
    except OSError as error:
        failures.append(f"{python.command}: {error.strerror}")
        return
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        failures.append(" ".join(words)[:300] or f"{python.command} ended with {done.returncode}")


def entries_of(listing: bytes) -> dict[tuple[str, str], tuple[int, int]]:
    """Return offset and size by root and path, from the bytes of a list."""
    return {(root, path): (offset, size) for root, path, offset, size in json.loads(listing)["entries"]}
