"""Lanthorn: unmodified PyTorch programs on machines you don't trust."""

__version__ = "0.1.0"
