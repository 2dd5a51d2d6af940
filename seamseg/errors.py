"""Exceptions for mistakes of the user, as opposed to bugs.

```text
SeamsegError(ValueError)
├── SettingsError           a setting or an option is unknown or out of range
├── DataError               a data set, predictions or a scores file are incomplete or inconsistent
│   └── BrokenImageError    an image file cannot be read
├── ModelError              a model, a checkpoint or weights are missing, damaged or incompatible
├── NativeLibraryError      the native library is missing, does not load, or has no kernels for a device
└── OutputError             an output is in use, contains other files, or cannot be written
```

Every message is one sentence that says what is wrong, where, and what to do. The command line prints it, as it prints
an ``OSError``, and exits with code 2. Any other exception is a bug and shows its traceback.
"""

from __future__ import annotations

from pathlib import Path


class SeamsegError(ValueError):
    """A mistake of the user. The message says what is wrong, where, and what to do.

    Example:
        >>> import seamseg
        >>> try:
        ...     seamseg.load_model("no/such/folder")
        ... except seamseg.SeamsegError as error:
        ...     print(type(error).__name__, "no/such/folder" in str(error))
        ModelError True
    """


class SettingsError(SeamsegError):
    """A setting or an option is unknown, out of range, or does not fit the others."""


class DataError(SeamsegError):
    """A data set, a folder of predictions or a scores file is incomplete, malformed or inconsistent."""


class BrokenImageError(DataError):
    """An image file that cannot be read. Other files of the run may be fine, so callers can report it and continue.

    Attributes:
        path: Path of the file.
        reason: Description of the fault, as the end of a sentence that starts with the path.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)  # pickle passes `args` to the constructor in another process
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path} {self.reason}"


class ModelError(SeamsegError):
    """A model, a checkpoint or published weights are missing, damaged, or belong to another network."""


class NativeLibraryError(SeamsegError, ImportError):
    """The native library is missing, does not load in this torch, is out of date, or lacks kernels for a device."""


class OutputError(SeamsegError):
    """An output file or folder is in use, contains other files, or cannot be written."""
