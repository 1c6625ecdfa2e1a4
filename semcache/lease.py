"""The lease port: one caller fetches an answer, the others wait for it, bounded.

    take(key) ──▶ Grant(token)     fetch, store, release
        │
        └──────▶ Grant(none) ──▶ wait(key) ──▶ released or expired: look up again, and take if it is still a miss

1. A key has one holder at a time, over all replicas. A holder that dies loses it by time.
2. `take` also says who else was being fetched in the same group when it was granted (`others`), with the note that
   each left: so that a near-equal prompt can be recognised. The group is read and written in one step: of two
   near-equal prompts that come together, the later one sees the earlier.
3. Leases are an economy, not a lock: when they cannot be had, callers fetch for themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Pending:
    """A fetch under way."""

    key: str
    note: bytes = field(repr=False)
    """What its holder said of it; opaque here."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Answer to `take`."""

    token: str = field(repr=False)
    """Proof of holding; empty: somebody else does."""
    others: Sequence[Pending] = ()
    """Fetches that were under way in the group before this one, oldest first; empty unless it was granted."""

    @property
    def is_held(self) -> bool:
        """Return whether the asker is the holder now."""
        return bool(self.token)


class Leases(Protocol):
    """Fill leases; in memory and in Redis. Every verb may raise LeaseError."""

    async def start(self) -> None:
        """Begin to hear of releases."""

    async def take(self, group: str, key: str, note: bytes, ttl_seconds: float) -> Grant:
        """Hold `key` for so long, unless somebody does. A full group grants without a note being kept."""

    async def wait(self, group: str, key: str, timeout_seconds: float) -> bool:
        """Wait until nobody holds `key`; return False if that did not come in time."""

    async def release(self, group: str, key: str, token: str) -> bool:
        """Give it back and wake who waits; return False if it was not held by this token any more."""

    async def stop(self) -> None:
        """Let waiters go, as if their time were over."""
