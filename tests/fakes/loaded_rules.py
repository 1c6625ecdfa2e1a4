"""Real `Rules`, and every outcome of a load to wait for."""

from __future__ import annotations

import asyncio

from ratelimit.errors import ConfigError
from ratelimit.settings import ConfigSettings
from ratelimit.source import News, Rules
from serving.metrics import Registry

PATIENCE_SECONDS = 30.0


class LoadedRules:
    """Stands between a source and the rules."""

    def __init__(self, settings: ConfigSettings) -> None:
        self.rules = Rules(settings, Registry())
        self.outcomes: list[ConfigError | None] = []
        self._changed = asyncio.Condition()

    async def apply(self, news: News) -> ConfigError | None:
        error = await self.rules.apply(news)
        async with self._changed:
            self.outcomes.append(error)
            self._changed.notify_all()
        return error

    async def outcome(self, number: int) -> ConfigError | None:
        """Return the outcome of the load with this number, counted from 1."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._changed:
            await self._changed.wait_for(lambda: len(self.outcomes) >= number)
        return self.outcomes[number - 1]

    async def accepted(self, *domains: str) -> None:
        """Wait until exactly these domains are in force."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._changed:
            await self._changed.wait_for(lambda: self.domains == set(domains))

    @property
    def domains(self) -> set[str]:
        return set(self.rules.current.domains) if self.rules.current else set()
