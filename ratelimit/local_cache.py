"""Counters known to be over, in this process: the next call is denied without asking the store.

An entry is the counter's key, so it is meaningless once the window ends. A refund forgets it, on
this replica at once and on others as soon as the store tells them. As with the reference, what was over stays so in its
window, whatever a request's own limit; only one that an operator may raise (`ceiling`) is compared with what was spent.
"""

from __future__ import annotations

from collections import OrderedDict

from ratelimit.limits import Limit

# Bytes that an entry costs beside its key: the text object, the two numbers and their pair, and the slot in the table.
ENTRY_BYTES = 240


class LocalCache:
    """Keys with the time they end and what was spent, bounded in bytes; the oldest leaves first."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._ends: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._bytes = 0
        self.hits = self.misses = self.evictions = self.expirations = self.overwrites = 0

    def __len__(self) -> int:
        return len(self._ends)

    def is_over(self, key: str, now: float, limit: Limit) -> bool:
        """Say whether `key` is known to be over at `now`."""
        known = self._ends.get(key)
        if known is None or known[0] <= now or (limit.ceiling and known[1] <= limit.amount):
            self.misses += 1
            if known is not None and known[0] <= now:
                self.expirations += 1
                self.forget(key)
            return False
        self.hits += 1
        return True

    def remember(self, key: str, end: float, spent: int) -> None:
        """Remember that so much of `key` is spent until `end`, its window's."""
        if key in self._ends:
            self.overwrites += 1
            self.forget(key)
        self._ends[key] = end, spent
        self._bytes += len(key) + ENTRY_BYTES
        while self._bytes > self._bytes_max:
            oldest = next(iter(self._ends))
            self.evictions += 1
            self.forget(oldest)

    def forget(self, key: str) -> None:
        """Forget `key`, if it is there."""
        if self._ends.pop(key, None) is not None:
            self._bytes -= len(key) + ENTRY_BYTES
