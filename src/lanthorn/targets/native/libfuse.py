"""libfuse 3, found by soname, and mfusepy on top of it.

mfusepy takes libfuse 2 where both are installed, and looks for either by running ldconfig; a soname avoids both. It
reads the choice from the environment when it is imported, so nothing else here may import it first.
"""

from __future__ import annotations

import ctypes
import os

from lanthorn.errors import RuntimeSetupError

_SONAMES = ("libfuse3.so.4", "libfuse3.so.3")


def _soname() -> str:
    for name in _SONAMES:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return name
    raise RuntimeSetupError("libfuse 3 is missing", hint="as root: apt-get install libfuse3-3 fuse3")


os.environ["FUSE_LIBRARY_PATH"] = _soname()
import mfusepy  # noqa: E402 - it reads the variable above when it is imported

__all__ = ["mfusepy"]
