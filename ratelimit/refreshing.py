"""Keeps what this replica knows of dynamic limits as new as DYNAMIC_LIMITS_REFRESH asks.

    rules with a ceiling ── yes ──▶ every interval: what changed? ──▶ KnownLimits      no ──▶ nobody is asked, nothing is known

1. Nothing is older than an interval and the time that Redis may take, as long as it answers. While it does not, what is known
   stays in force, ends included; how old it is, is a metric.
2. A start does not wait for a store that is away: the rules' own amounts are in force until it was read.
"""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import suppress

from ratelimit.dynamic_limit import DynamicLimitStore
from ratelimit.errors import StoreError
from ratelimit.known_limits import KnownLimits
from ratelimit.source import Rules
from serving.clock import Clock
from serving.metrics import Registry

_log = logging.getLogger(__name__)


class Refreshing:
    """The part that reads them."""

    def __init__(
        self,
        store: DynamicLimitStore,
        known: KnownLimits,
        rules: Rules,
        clock: Clock,
        registry: Registry,
        *,
        interval_seconds: float,
    ) -> None:
        self._store = store
        self._known = known
        self._rules = rules
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._reading = asyncio.Lock()
        self._following: asyncio.Task[None] | None = None
        self._read_at = 0.0
        """Steady seconds; 0: never."""
        self._is_away = False
        self._failures = registry.counter("weir.dynamic_limits.refresh_failures")
        registry.gauge("weir.dynamic_limits.count", lambda: len(known))
        registry.gauge("weir.dynamic_limits.version", lambda: known.version)
        registry.gauge("weir.dynamic_limits.age_seconds", self._age_seconds)

    async def start(self) -> None:
        """Read them, if there is a rule that asks for it, and go on."""
        self._rules.subscribe(self._turn)
        if self._is_wanted:
            await self.refresh()
        self._turn()

    async def stop(self) -> None:
        """Read no more."""
        if self._following is not None:
            self._following.cancel()
            with suppress(asyncio.CancelledError):
                await self._following
        await self._store.stop()

    async def refresh(self) -> None:
        """Read what changed, if the store answers."""
        async with self._reading:
            try:
                while self._known.take(
                    await self._store.read(self._known.after, deadline=math.inf), self._clock.steady()
                ):
                    pass
            except StoreError as error:
                self._failures.add()
                if not self._is_away:
                    _log.warning("dynamic limits cannot be read, the last known stay in force: %s", error)
                self._is_away = True
            else:
                self._read_at, self._is_away = self._clock.steady(), False
            self._known.expire(self._clock.steady())

    @property
    def _is_wanted(self) -> bool:
        return self._rules.current is not None and self._rules.current.has_ceilings

    def _turn(self) -> None:
        """Begin to follow, if there is a reason now."""
        if self._is_wanted and (self._following is None or self._following.done()):
            self._following = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        while self._is_wanted:
            await self.refresh()
            await asyncio.sleep(self._interval_seconds)
        self._known.forget()
        self._read_at = 0.0

    def _age_seconds(self) -> float:
        return self._clock.steady() - self._read_at if self._read_at else 0.0
