"""Where everything lies in a protected file: sizes, node numbers, the tree.

Numbers only, no cryptography and no I/O. A file is a row of nodes of 4096 bytes: node 0 holds the metadata
and the first 3072 bytes; each tree node (MHT, Merkle hash tree) stands directly before its own 96 data
nodes. Format: Gramine protected files, version 2 (`common/src/protected_files` in Gramine).
"""

from __future__ import annotations

from typing import Final

NODE: Final = 4096
KEY: Final = 16
TAG: Final = 16
ENTRY: Final = KEY + TAG
"""One tree entry: the key of the node it speaks of, then its tag."""

HEAD: Final = 3072
"""Bytes of contents that live in node 0."""

DATA_PER_MHT: Final = 96
CHILDREN_PER_MHT: Final = 32
NODES_PER_GROUP: Final = 1 + DATA_PER_MHT
GROUP: Final = DATA_PER_MHT * NODE
"""Plaintext bytes below one tree node, its children not counted."""

CHILD_OFFSET: Final = DATA_PER_MHT * ENTRY

MAX_FILE_SIZE: Final = 1 << 46
"""64 TiB of plaintext. A larger size in a file's metadata is refused; it fits JSON's exact integers."""

MAX_PATH: Final = 771
"""Bytes of an embedded path, its final NUL not counted."""


def data_nodes(size: int) -> int:
    """Return how many data nodes a file of `size` plaintext bytes has."""
    return 0 if size <= HEAD else -(-(size - HEAD) // NODE)


def mht_nodes(data_count: int) -> int:
    """Return how many tree nodes `data_count` data nodes need, the root included."""
    return -(-data_count // DATA_PER_MHT)


def physical_mht(m: int) -> int:
    """Return the position in the file, in nodes, of tree node `m`."""
    return 1 + m * NODES_PER_GROUP


def physical_data(d: int) -> int:
    """Return the position in the file, in nodes, of data node `d`."""
    return d + 2 + d // DATA_PER_MHT


def parent(m: int) -> int:
    """Return the tree node that holds the entry of tree node `m` >= 1."""
    return (m - 1) // CHILDREN_PER_MHT


def child_offset(m: int) -> int:
    """Return where in its parent the entry of tree node `m` >= 1 begins."""
    return CHILD_OFFSET + (m - 1) % CHILDREN_PER_MHT * ENTRY


def encrypted_size(size: int) -> int:
    """Return the size on disk of a file of `size` plaintext bytes."""
    data_count = data_nodes(size)
    return NODE * (1 + mht_nodes(data_count) + data_count)


def runs(first: int, count: int) -> list[tuple[int, int]]:
    """Split data nodes into runs that lie together: (first, count) below each tree node they touch."""
    found = []
    while count:
        here = min(count, DATA_PER_MHT - first % DATA_PER_MHT)
        found.append((first, here))
        first, count = first + here, count - here
    return found
