"""Dynamic limits in this process: the embedded default, and the twin that Redis is held to."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from ratelimit.dynamic_limit import CLEARED_MAX, PAGE_MAX, Change, DynamicLimit, LimitsFull, Page, VersionConflict
from serving.clock import Clock


class MemoryLimits:
    """Keeps them as long as the process runs."""

    def __init__(self, clock: Clock, *, limits_max: int, cleared_max: int = CLEARED_MAX) -> None:
        self._clock = clock
        self._limits_max = limits_max
        self._cleared_max = cleared_max
        self._limits: dict[str, DynamicLimit] = {}
        self._changes: dict[str, int] = {}
        """Versions by name, oldest first."""
        self._cleared: dict[str, int] = {}
        self._ends: dict[str, int] = {}
        self._version = self._floor = 0
        self._born = ""

    async def put(
        self, name: str, amount: int, *, ttl_ms: int, expected_version: int | None, deadline: float
    ) -> DynamicLimit:
        """Put an amount in force."""
        del deadline  # nothing here waits
        known = self._expect(name, expected_version)
        if known is None and len(self._limits) >= self._limits_max:
            raise LimitsFull
        limit = DynamicLimit(name, amount, self._next_version(), self._now_ms() + ttl_ms if ttl_ms else 0)
        self._limits[name] = limit
        self._ends.pop(name, None)
        if ttl_ms:
            self._ends[name] = limit.ends_ms
        self._cleared.pop(name, None)
        self._note(name, limit.version)
        return limit

    async def clear(self, name: str, *, expected_version: int | None, deadline: float) -> int:
        """Have the rule's own amount in force again."""
        del deadline
        if self._expect(name, expected_version) is None:
            return 0
        version = self._next_version()
        self._note(name, version)
        self._remove(name, version)
        self._forget_oldest()
        return version

    async def read(self, after: int, *, most: int = PAGE_MAX, deadline: float) -> Page:
        """Return what changed after a version."""
        del deadline
        now_ms = self._now_ms()
        changes = tuple(islice(self._since(after, now_ms), most))
        return Page(after, self._born, self._version, self._floor, now_ms, changes)

    async def stop(self) -> None:
        """Do nothing: the limits go with the process."""

    def _since(self, after: int, now_ms: int) -> Iterator[Change]:
        for name, version in self._changes.items() if after < self._version else ():
            if version > after:
                limit = self._limits.get(name)
                yield Change(name, version, None if limit is None or _has_ended(limit, now_ms) else limit)

    def _expect(self, name: str, expected_version: int | None) -> DynamicLimit | None:
        """Return the limit that is there, once those that ended are not."""
        now_ms = self._now_ms()
        for ended in [each for each, ends_ms in self._ends.items() if ends_ms <= now_ms]:
            self._remove(ended, self._limits[ended].version)
        self._forget_oldest()
        known = self._limits.get(name)
        version = known.version if known is not None else 0
        if expected_version is not None and version != expected_version:
            raise VersionConflict(version)
        return known

    def _next_version(self) -> int:
        self._born = self._born or f"{self._clock.wall()}"
        self._version += 1
        return self._version

    def _note(self, name: str, version: int) -> None:
        self._changes.pop(name, None)
        self._changes[name] = version

    def _remove(self, name: str, version: int) -> None:
        del self._limits[name]
        self._ends.pop(name, None)
        self._cleared[name] = version

    def _forget_oldest(self) -> None:
        while len(self._cleared) > self._cleared_max:
            oldest = min(self._cleared, key=lambda name: self._cleared[name])
            self._floor = max(self._floor, self._cleared.pop(oldest))
            del self._changes[oldest]

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)


def _has_ended(limit: DynamicLimit, now_ms: int) -> bool:
    return 0 < limit.ends_ms <= now_ms
