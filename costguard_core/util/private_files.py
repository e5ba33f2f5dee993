"""Files that only their owner may read: they hold what customers asked, what they were told, and who they are."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def create_private_file(path: str | os.PathLike[str]) -> None:
    """Create an empty file with mode 0600, whatever the umask. One that exists keeps its mode.

    Never raises: whoever opens the file afterwards finds out what is wrong, and says it better.
    """
    # An existing file is not even opened: closing it would drop the locks that SQLite holds on it in this process.
    with suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def create_private_directory(path: str | os.PathLike[str]) -> None:
    """Create a directory with mode 0700, and what is missing above it. One that exists keeps its mode.

    Raises:
        OSError: it cannot be made.
    """
    directory = Path(path)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
