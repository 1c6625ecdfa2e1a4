"""The store and the rules as parts of the service, and as components of its health."""

from __future__ import annotations

import asyncio

from ratelimit.outage import Outage
from ratelimit.settings import HealthSettings
from ratelimit.source import Rules, RuleSource
from ratelimit.store import Store
from serving.health import Health
from serving.lifecycle import Part


class StoreWatch:
    """The store as a part, and as the component `redis` of health."""

    def __init__(self, store: Store, health: Health, outage: Outage | None, *, follows: bool) -> None:
        self._store = store
        self._outage = outage
        self._health = health
        self._follows = follows
        self._watching: asyncio.Task[None] | None = None
        health.down("redis")

    async def start(self) -> None:
        """Reach the store; the port opens only afterwards, as the reference's."""
        await self._store.start()
        self._health.up("redis")
        if self._follows:
            self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Let go of it."""
        if self._watching is not None:
            self._watching.cancel()
        if self._outage is not None:
            await self._outage.stop()
        await self._store.stop()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(0.25)
            (self._health.up if self._store.is_healthy else self._health.down)("redis")


class RulesWatch:
    """The source of rules as a part, and as the component `config` of health where it is asked for."""

    def __init__(
        self, rules: Rules, source: RuleSource, overlay: Part | None, health: Health, settings: HealthSettings
    ) -> None:
        self._rules = rules
        self._source = source
        self._overlay = overlay
        self._health = health
        if settings.healthy_with_at_least_one_config_loaded:
            health.down("config")
            rules.subscribe(self._tell)

    async def start(self) -> None:
        """Load the first rules; a bad set is told and waited out, as the reference does."""
        if self._overlay is not None:
            await self._overlay.start()
        await self._source.start()

    async def stop(self) -> None:
        """Watch no more."""
        await self._source.stop()
        if self._overlay is not None:
            await self._overlay.stop()

    def _tell(self) -> None:
        (self._health.up if self._rules.has_domains else self._health.down)("config")
