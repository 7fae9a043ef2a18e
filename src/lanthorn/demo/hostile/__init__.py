"""The hostile operator: attempts on files, code, locks, platforms and the wire, each with its reason to fail."""
