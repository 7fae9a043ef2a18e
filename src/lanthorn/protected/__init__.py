"""Protected files: the at-rest format, bytes to plaintext and back. No FUSE, no TEE, no network.

The format is that of Gramine's encrypted files, version 2, in both directions; folders get an authenticated
index of ours, itself a protected file.
"""

from __future__ import annotations

from lanthorn.protected._range import FileRange, RangeReader
from lanthorn.protected.editor import ProtectedEditor
from lanthorn.protected.files import decrypt_file, encrypt_file
from lanthorn.protected.folder import INDEX_NAME, FileEntry, FolderEntry, FolderIndex, LinkEntry
from lanthorn.protected.folder_io import decrypt_folder, encrypt_folder, open_index
from lanthorn.protected.metadata import Header, Metadata, version_id
from lanthorn.protected.paths import embedded_path
from lanthorn.protected.reader import ProtectedReader
from lanthorn.protected.writer import encrypt_stream

__all__ = [
    "INDEX_NAME",
    "FileEntry",
    "FileRange",
    "FolderEntry",
    "FolderIndex",
    "Header",
    "LinkEntry",
    "Metadata",
    "ProtectedEditor",
    "ProtectedReader",
    "RangeReader",
    "decrypt_file",
    "decrypt_folder",
    "embedded_path",
    "encrypt_file",
    "encrypt_folder",
    "encrypt_stream",
    "open_index",
    "version_id",
]
