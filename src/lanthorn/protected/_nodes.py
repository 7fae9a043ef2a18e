"""Read and check runs of data nodes: what the reader and the editor share."""

from __future__ import annotations

from lanthorn.errors import IntegrityError
from lanthorn.protected._crypto import BadNodeError, decrypt_nodes
from lanthorn.protected._layout import ENTRY, HEAD, NODE, NODES_PER_GROUP, TAG, physical_data, runs
from lanthorn.protected._range import RangeReader, read_exactly


def work_buffer(data_count: int) -> bytearray:
    """Return a buffer that `read_nodes` can use for `data_count` data nodes, wherever they begin."""
    return bytearray((data_count + data_count // (NODES_PER_GROUP - 1) + 1) * NODE + TAG)


def read_nodes(
    source: RangeReader, entries: bytes, target: memoryview, first: int, work: bytearray, name: str
) -> None:
    """Decrypt data nodes from `first` on, one for each of `entries`, with one read of the host.

    On failure `target` holds what must not be used. Raises `IntegrityError` or `StorageError`.
    """
    count = len(entries) // ENTRY
    start = physical_data(first)
    length = (physical_data(first + count - 1) + 1 - start) * NODE
    cipher = memoryview(work)[: length + TAG]
    if not read_exactly(source, cipher[:length], start * NODE):
        raise IntegrityError(f"{name} is cut short: data node {first + count - 1} is missing")
    # A tree node stands between the data nodes of one tree node and those of the next.
    for d, here in runs(first, count):
        at, e, out = (physical_data(d) - start) * NODE, (d - first) * ENTRY, (d - first) * NODE
        part, into = cipher[at : at + here * NODE + TAG], target[out : out + here * NODE]
        try:
            decrypt_nodes(part, entries[e : e + here * ENTRY], into)
        except BadNodeError as error:
            bad = d + error.index
            raise IntegrityError(
                f"{name} was changed: data node {bad} does not fit its tag (from byte {HEAD + bad * NODE} on)"
            ) from error
