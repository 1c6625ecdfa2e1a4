"""Leases of one process."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from semcache.lease import Grant, Pending
from semcache.leases.waiters import Waiters
from semcache.settings import LeaseSettings
from serving.clock import Clock


@dataclass(frozen=True, slots=True)
class _Held:
    token: str = field(repr=False)
    note: bytes = field(repr=False)
    due: float


class MemoryLeases:
    """Holds everything in dictionaries, the oldest first."""

    def __init__(self, settings: LeaseSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._groups: dict[str, dict[str, _Held]] = {}
        self._waiters = Waiters(clock, settings.poll_interval)

    async def start(self) -> None:
        """Nothing to do: releases are heard of at once."""

    async def take(self, group: str, key: str, note: bytes, ttl_seconds: float) -> Grant:
        """Hold a key, unless somebody does."""
        now = self._clock.steady()
        held = {one: lease for one, lease in self._groups.get(group, {}).items() if lease.due > now}
        if key in held:
            return Grant("")
        token, others = secrets.token_hex(16), self._others(held)
        if len(held) < self._settings.pending_max:
            note = note if len(note) <= self._settings.note_bytes_max else b""
            held[key] = _Held(token, note, now + ttl_seconds)
        self._groups[group] = held
        return Grant(token, others)

    async def wait(self, group: str, key: str, timeout_seconds: float) -> bool:
        """Wait until nobody holds a key."""

        async def look() -> float:
            lease = self._groups.get(group, {}).get(key)
            return lease.due - self._clock.steady() if lease else 0.0

        return await self._waiters.wait(group, key, timeout_seconds, look)

    async def release(self, group: str, key: str, token: str) -> bool:
        """Give a key back."""
        held = self._groups.get(group, {})
        lease = held.get(key)
        if lease is None or lease.token != token or lease.due <= self._clock.steady():
            return False
        del held[key]
        if not held:
            del self._groups[group]
        self._waiters.wake(group, key)
        return True

    async def stop(self) -> None:
        """Let waiters go."""
        self._waiters.stop()

    def _others(self, held: dict[str, _Held]) -> Sequence[Pending]:
        latest = list(held.items())[max(0, len(held) - self._settings.others_max) :]
        return [Pending(key, lease.note) for key, lease in latest]
