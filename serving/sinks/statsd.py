"""Counters as differences since the last flush, in lines of a dialect, to whoever takes them."""

from __future__ import annotations

import asyncio
import logging

from serving.metrics import Registry
from serving.sinks.lines import Dialect, Labels
from serving.sinks.pace import paced
from serving.sinks.senders import Sender

_LOG = logging.getLogger(__name__)
_SEND_SECONDS_MAX = 1.0


class StatsdSink:
    """Flushes every STATS_FLUSH_INTERVAL; an address that is away loses what was counted meanwhile."""

    def __init__(self, interval_seconds: float, registry: Registry, dialect: Dialect, sender: Sender) -> None:
        self._interval_seconds = interval_seconds
        self._registry = registry
        self._dialect = dialect
        self._sender = sender
        self._last: dict[tuple[str, Labels], float] = {}
        self._flushing: asyncio.Task[None] | None = None
        self._is_away = False

    async def start(self) -> None:
        """Begin to flush."""
        self._flushing = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Flush a last time."""
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.gather(self._flushing, return_exceptions=True)
            await self.flush()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_seconds)
            await self.flush()

    async def flush(self) -> None:
        """Send what moved; one warning for each outage."""
        lines = await self._lines()
        if not lines:
            return
        try:
            async with asyncio.timeout(_SEND_SECONDS_MAX):
                await self._sender.send(lines)
            self._is_away = False
        except OSError:
            if not self._is_away:
                _LOG.warning("%s is away", self._sender)
            self._is_away = True

    async def _lines(self) -> list[str]:
        await self._registry.refresh()
        lines, last = [], self._last
        # Made anew, so that series that were dropped are forgotten here too.
        self._last = {}
        async for sample in paced(self._registry.samples()):
            labels = tuple(sample.labels.items())
            if sample.kind == "gauge":
                lines.append(self._dialect.line(sample.name, labels, sample.value, "g"))
                continue
            key = (sample.name, labels)
            before = last.get(key, 0)
            # Less than before: it was dropped, and born again.
            moved = sample.value - before if sample.value >= before else sample.value
            self._last[key] = sample.value
            if moved:
                lines.append(self._dialect.line(sample.name, labels, moved, "c"))
        for name, timer in self._registry.timers.items():
            recent, timer.recent = timer.recent, []
            lines += [self._dialect.line(name, (), seconds * 1000, "ms") for seconds in recent]
        return lines
