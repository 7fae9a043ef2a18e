"""Protected files: the at-rest format, bytes to plaintext and back. No FUSE, no TEE, no network.

The format is that of Gramine's encrypted files, version 2, in both directions; folders get an authenticated
index of ours, itself a protected file.
"""

from __future__ import annotations

from lanthorn.protected._range import FileRange, RangeReader
from lanthorn.protected.editor import ProtectedEditor
from lanthorn.protected.metadata import Header, Metadata, version_id
from lanthorn.protected.paths import embedded_path
from lanthorn.protected.reader import ProtectedReader
from lanthorn.protected.writer import encrypt_stream

__all__ = [
    "FileRange",
    "Header",
    "Metadata",
    "ProtectedEditor",
    "ProtectedReader",
    "RangeReader",
    "embedded_path",
    "encrypt_stream",
    "version_id",
]
