"""Reading entries ahead into the system's page cache, where Qdrant has left them out of it.

A new index is written past the cache: right after it none of the entries is there, and each one that is served or judged for the
first time is waited for as long as the disk takes, three of them in a search.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

_PAYLOADS = "segments/*/payload_storage/*.dat"
_PIECE_BYTES = 256 * 1024


def plan(folder: Path, bytes_max: int) -> Iterator[tuple[Path, int]]:
    """Return files of entries, and how much of each is to be read: smaller ones first, which say where entries are."""
    # Files are made long, and filled from their beginning.
    written = sorted((path.stat().st_blocks * 512, path) for path in folder.glob(_PAYLOADS))
    for size, path in written:
        taken = min(size, bytes_max)
        bytes_max -= taken
        if taken:
            yield path, taken


def warm(folder: Path, bytes_max: int) -> None:
    """Have the system read the entries of a shard, in no more memory than that; it may drop them again."""
    # Read, and not only said to be needed soon: of that the kernel takes the first part of a file.
    buffer = bytearray(_PIECE_BYTES)
    # A file that has gone needs no reading.
    with contextlib.suppress(OSError):
        for path, size in plan(folder, bytes_max):
            with path.open("rb", buffering=0) as file:
                for _ in range(0, size, _PIECE_BYTES):
                    file.readinto(buffer)
