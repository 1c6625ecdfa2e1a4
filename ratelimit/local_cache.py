"""Counters known to be over, in this process: the next call is denied without asking the store.

An entry is the counter's key, so it is meaningless once the window ends. A refund forgets it, on
this replica at once and on others as soon as the store tells them.
"""

from __future__ import annotations

from collections import OrderedDict

# Bytes that an entry costs beside its key: the text object, the float and the slot in the table.
ENTRY_BYTES = 150


class LocalCache:
    """Keys with the time they end, bounded in bytes; the oldest leaves first."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._ends: OrderedDict[str, float] = OrderedDict()
        self._bytes = 0
        self.hits = self.misses = self.evictions = self.expirations = self.overwrites = 0

    def __len__(self) -> int:
        return len(self._ends)

    def is_over(self, key: str, now: float) -> bool:
        """Say whether `key` is known to be over at `now`."""
        end = self._ends.get(key)
        if end is None or end <= now:
            self.misses += 1
            if end is not None:
                self.expirations += 1
                self.forget(key)
            return False
        self.hits += 1
        return True

    def remember(self, key: str, end: float) -> None:
        """Remember that `key` is over until `end`, its window's."""
        if key in self._ends:
            self.overwrites += 1
            self.forget(key)
        self._ends[key] = end
        self._bytes += len(key) + ENTRY_BYTES
        while self._bytes > self._bytes_max:
            oldest = next(iter(self._ends))
            self.evictions += 1
            self.forget(oldest)

    def forget(self, key: str) -> None:
        """Forget `key`, if it is there."""
        if self._ends.pop(key, None) is not None:
            self._bytes -= len(key) + ENTRY_BYTES
