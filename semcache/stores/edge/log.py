"""Forcing a shard's log to the disk from outside, while its engine goes on answering.

A file is the same for everybody who has it open, so what the engine wrote through its own map of it is forced, too. Flushing the
shard itself does it as well, and holds the engine up meanwhile: on a disk that others write to, for a second.
"""

from __future__ import annotations

import os
from pathlib import Path

_LOG = "wal"
# A file of the log is full after 32 MiB, and is given another name then.
_ATTEMPTS = 5


def force_log(folder: Path) -> None:
    """Return when every write that was answered before this call will outlive a power cut.

    Raises:
        OSError: it may not; the folder may have gone.
    """
    for _ in range(_ATTEMPTS):
        if _force(folder / _LOG):
            return
    raise OSError(f"the files of {folder / _LOG} change too fast to be forced to the disk")


def _force(log: Path) -> bool:
    """Force all files of a folder and what it says of them; return False if they were other ones meanwhile."""
    paths = sorted(log.iterdir())
    try:
        for path in (*paths, log):
            _force_one(path)
    except FileNotFoundError:
        return False
    return sorted(log.iterdir()) == paths


def _force_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
