"""A folder for sockets that only this process's user may enter."""

from __future__ import annotations

import tempfile
from pathlib import Path

# What stays writable where the root is read-only and nothing is mounted on /tmp.
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - mkdtemp picks a name that nobody can foresee, with mode 0700


def make_private_folder() -> Path:
    """Make one, of mode 0700: where temporary files go (TMPDIR), or in shared memory.

    Raises:
        OSError: neither can be written.
    """
    try:
        return Path(tempfile.mkdtemp(prefix="weir-"))
    except FileNotFoundError:
        return Path(tempfile.mkdtemp(prefix="weir-", dir=SHARED_MEMORY))
