"""The lock of a shard's folder, beside it."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path


def lock(folder: Path, timeout_seconds: float, pause_seconds: float = 0.02) -> int:
    """Keep other processes off the folder until this one ends; wait for one that is just leaving it.

    Raises:
        TimeoutError: another process keeps it.
    """
    # Two locks do for all generations: one serves, the next is built.
    path = folder.with_name(("even" if int(folder.name) % 2 == 0 else "odd") + ".lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    for _ in range(int(timeout_seconds / pause_seconds) + 1):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(pause_seconds)
        else:
            return descriptor
    os.close(descriptor)
    raise TimeoutError(f"another process has {folder}")
