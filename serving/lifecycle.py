"""From start to stop without losing a call.

    start ──▶ ready ── SIGTERM ──▶ drain ── DRAIN_DELAY or a second signal ──▶ stop

1. Parts start in order. One that cannot start stops itself and those before it, and the error
   goes up; a signal that comes before all have started does the same, without an error.
2. From the signal on health says NOT_SERVING, while the listener stays open and every call is
   answered: callers learn from their health checks and leave before the port closes.
3. Parts stop in the opposite order, each in bounded time: the listener first, which waits for
   its calls in flight, what they need last. One that fails to stop does not keep the others.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from serving.health import Health

_LOG = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

COMPONENT = "sigterm"

# What a part has to clean up after its own grace.
_STOP_MARGIN_SECONDS = 5.0


class Part(Protocol):
    """Something that does I/O for as long as the process serves."""

    async def start(self) -> None:
        """Begin; return when others may rely on it."""

    async def stop(self) -> None:
        """End; called where `start` failed or was cut short, too."""


class Lifecycle:
    """One process's parts, health and end."""

    def __init__(
        self,
        parts: Sequence[Part],
        health: Health,
        *,
        delay_seconds: float,
        grace_seconds: float,
        on_hurry: Callable[[], None] | None = None,
    ) -> None:
        self._on_hurry = on_hurry
        self._parts = parts
        self._health = health
        self._delay_seconds = delay_seconds
        self._stop_seconds_max = grace_seconds + _STOP_MARGIN_SECONDS
        self._drain = asyncio.Event()
        self._hurry = asyncio.Event()
        self._starting: asyncio.Task[None] | None = None
        self.ready = asyncio.Event()
        """Set when every part has started."""

    async def run(self) -> None:
        """Start everything, serve until told to stop, and stop everything.

        Raises:
            Exception: what a part raised as it started.
        """
        loop = asyncio.get_running_loop()
        begun: list[Part] = []
        for number in _SIGNALS:
            loop.add_signal_handler(number, self.shut_down)
        try:
            await self._start(begun)
            await self._serve()
        finally:
            await self._stop(begun)
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def shut_down(self) -> None:
        """Begin to drain; asked a second time, end the delay. What the signals call."""
        if self._drain.is_set():
            self._hurry.set()
            if self._on_hurry is not None:
                self._on_hurry()
        self._drain.set()
        self._health.down(COMPONENT)
        if self._starting is not None:
            self._starting.cancel()

    async def _start(self, begun: list[Part]) -> None:
        self._health.up(COMPONENT)
        self._starting = asyncio.create_task(self._start_parts(begun))
        try:
            await self._starting
        except asyncio.CancelledError:
            if not self._drain.is_set():
                raise
        finally:
            self._starting = None

    async def _start_parts(self, begun: list[Part]) -> None:
        for part in self._parts:
            begun.append(part)
            await part.start()
        self.ready.set()

    async def _serve(self) -> None:
        if not self.ready.is_set():
            return
        await self._drain.wait()
        _LOG.info("draining for %g s", self._delay_seconds)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), self._delay_seconds)

    async def _stop(self, begun: Sequence[Part]) -> None:
        self._health.close()
        for part in reversed(begun):
            try:
                async with asyncio.timeout(self._stop_seconds_max):
                    await part.stop()
            except Exception:  # noqa: BLE001 - whatever it is, the others must stop
                _LOG.exception("%s did not stop", type(part).__name__)
