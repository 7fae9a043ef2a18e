"""Encrypt and decrypt whole files, with several processes when the file is big.

Each worker takes every n-th group (a tree node and its 96 data nodes), reads and writes at disjoint
offsets, and sends back 32 bytes: the entry of the tree node. The parent finishes the tree and writes node 0
last.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Final

from lanthorn.errors import FormatError, StorageError
from lanthorn.keys import WrapKey
from lanthorn.protected._layout import (
    ENTRY,
    GROUP,
    HEAD,
    MAX_FILE_SIZE,
    data_nodes,
    encrypted_size,
    mht_nodes,
)
from lanthorn.protected._range import FileRange, read_exactly
from lanthorn.protected._workers import Results, run_workers, worker_count
from lanthorn.protected.metadata import Metadata
from lanthorn.protected.paths import check_embedded_path
from lanthorn.protected.reader import ProtectedReader
from lanthorn.protected.writer import GroupEncryptor, finish_file, finish_tree

PARALLEL_MINIMUM: Final = 64 << 20
"""Smaller files are done before several processes would pay."""

_CHUNK: Final = 1 << 20
_GROUP_ID: Final = 8
Progress = Callable[[int], None]
"""Called with the plaintext bytes done since the last call."""


def no_progress(_: int) -> None:
    """Take note of nothing."""


def _processes(size: int, wanted: int | None) -> int:
    return wanted if wanted is not None else (worker_count() if size >= PARALLEL_MINIMUM else 1)


def encrypt_range(
    source: FileRange,
    store: FileRange,
    key: WrapKey,
    path: str,
    *,
    progress: Progress = no_progress,
    processes: int | None = None,
) -> str:
    """Encrypt the file `source` into the empty `store`, and return the version id.

    `processes` overrides the choice by size. Keys come from `os.urandom` only: a source of random numbers
    that were copied into several processes would repeat keys. A file that changes its size meanwhile is
    refused; one that changes its contents gives some mixture, as with cp. Raises `UsageError`,
    `FormatError`, `StorageError`.
    """
    check_embedded_path(path)
    size = source.size()
    if size > MAX_FILE_SIZE:
        raise FormatError(
            f"{source.name} is over a limit: expected at most {MAX_FILE_SIZE} bytes, got {size}"
        )
    store.truncate(encrypted_size(size))
    head = memoryview(bytearray(min(size, HEAD)))
    _read_source(source, head, 0)
    progress(len(head))
    count = mht_nodes(data_nodes(size))
    entries = bytearray(count * ENTRY)
    with contextlib.closing(_encrypt_groups(source, store, size, _processes(size, processes))) as results:
        for result in results:
            m = int.from_bytes(result[:_GROUP_ID], "little")
            entries[m * ENTRY : (m + 1) * ENTRY] = result[_GROUP_ID:]
            progress(_group_length(size, m))
    if source.size() != size:
        raise StorageError(
            f"{source.name} changed while it was read: expected {size} bytes, got another size"
        )
    return finish_file(store, key, Metadata(path, size, finish_tree(store, entries), bytes(head)))


def _encrypt_groups(source: FileRange, store: FileRange, size: int, processes: int) -> Results:
    """Encrypt all groups, each in one worker; yield the number and the entry of each one's tree node."""
    count = mht_nodes(data_nodes(size))

    def job(index: int) -> Results:
        encryptor = GroupEncryptor(store, os.urandom)
        for m in range(index, count, processes):
            length = _group_length(size, m)
            _read_source(source, encryptor.plain[:length], HEAD + m * GROUP)
            yield m.to_bytes(_GROUP_ID, "little") + encryptor.write(m, length)

    return job(0) if processes == 1 else run_workers(processes, job)


def _group_length(size: int, m: int) -> int:
    return min(GROUP, size - HEAD - m * GROUP)


def _read_source(source: FileRange, buffer: memoryview, offset: int) -> None:
    if not read_exactly(source, buffer, offset):
        raise StorageError(f"{source.name} changed while it was read: it became shorter")


def decrypt_range(
    reader: ProtectedReader,
    output: FileRange,
    *,
    progress: Progress = no_progress,
    processes: int | None = None,
) -> None:
    """Decrypt everything into the empty `output`. Raises `IntegrityError` or `StorageError`.

    On failure `output` may hold verified bytes of other places; the caller throws it away.
    """
    output.truncate(reader.size)
    count = _processes(reader.size, processes)

    def job(index: int) -> Results:
        buffer = memoryview(bytearray(_CHUNK))
        # The first chunk is one of HEAD bytes, so that the others begin where data nodes do.
        for begin in range(HEAD - _CHUNK + index * _CHUNK, reader.size, count * _CHUNK):
            offset = max(0, begin)
            length = reader.read_into(buffer[: begin + _CHUNK - offset], offset)
            output.pwrite(buffer[:length], offset)
            yield length.to_bytes(_GROUP_ID, "little")

    # Closed at once when `progress` raises (Ctrl-C), so that no worker outlives the output.
    with contextlib.closing(job(0) if count == 1 else run_workers(count, job)) as results:
        for result in results:
            progress(int.from_bytes(result, "little"))
