"""Every error Lanthorn raises on purpose, with its exit code.

    Error                                1
    ├── UsageError                       2   bad flags, bad config, unknown key in a config file
    ├── StorageError                     3   missing file, existing output, full disk, permissions
    ├── FormatError                     10   not our file, unknown version, over a limit
    │   └── IntegrityError              11   tag mismatch, truncation, reordering, wrong key
    ├── ManifestError                   20   missing trusted file, hash differs from the lock
    ├── AttestationError                30
    │   ├── EvidenceUnavailableError    31   no such TEE here; device or driver missing
    │   ├── VerificationError           32   bad signature, chain, revoked, expired, stale nonce
    │   └── AppraisalError              33   genuine, but the policy says no
    ├── BrokerError                     40   protocol violation, wrong certificate
    │   ├── BrokerUnreachableError      75   nobody answers: worth retrying
    │   └── KeyReleaseDeniedError       41   the broker said no
    └── RuntimeSetupError               50   mount or target failed before the program started

`lanthorn run` ends with the program's own code; 125 stands for every failure of its own and 75 for a retryable
one. Messages are lower case, have no final period and never hold a key, a plaintext or a passphrase.
"""

from __future__ import annotations

from typing import ClassVar

# What `env` and container engines use where a program could not be run at all.
RUN_FAILED = 125


class Error(Exception):
    """The root of the tree: one line for a person, an optional hint, an exit code."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(Error):
    exit_code = 2


class StorageError(Error):
    exit_code = 3


class FormatError(Error):
    exit_code = 10


class IntegrityError(FormatError):
    exit_code = 11


class ManifestError(Error):
    exit_code = 20


class AttestationError(Error):
    exit_code = 30


class EvidenceUnavailableError(AttestationError):
    exit_code = 31


class VerificationError(AttestationError):
    exit_code = 32


class AppraisalError(AttestationError):
    exit_code = 33


class BrokerError(Error):
    exit_code = 40


class BrokerUnreachableError(BrokerError):
    exit_code = 75


class KeyReleaseDeniedError(BrokerError):
    exit_code = 41


class RuntimeSetupError(Error):
    exit_code = 50
