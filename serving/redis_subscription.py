"""Listens on a channel, through outages.

What is said while the connection is away is lost: whoever listens must be right without it, only later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import hiredis

from serving.redis_link import Link, RedisFault, Reply
from serving.redis_node import Bounds, Dial


class Subscription:
    """A connection of its own, since one that listens cannot ask."""

    def __init__(self, dial: Dial, channel: str, hear: Callable[[bytes], None], bounds: Bounds) -> None:
        self._dial = dial
        self._subscribe = hiredis.pack_command(("SUBSCRIBE", channel))  # type: ignore[arg-type]  # its stub
        self._hear = hear
        self._bounds = bounds
        self._listening: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Listen in the background."""
        self._listening = asyncio.create_task(self._keep_listening())

    async def stop(self) -> None:
        """Listen no longer."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)

    async def _keep_listening(self) -> None:
        while True:
            with suppress(OSError, TimeoutError, RedisFault):
                await self._listen()
            await asyncio.sleep(self._bounds.probe_interval_seconds)

    async def _listen(self) -> None:
        async with asyncio.timeout(self._bounds.timeout_seconds):
            link = await self._dial(lambda: Link(1, on_push=self._take))
        try:
            async with asyncio.timeout(self._bounds.timeout_seconds):
                await link.send(self._subscribe, 1)
            await link.lost
        finally:
            link.abort()

    def _take(self, reply: Reply) -> None:
        match reply:
            case [b"message", _, bytes() as message]:
                self._hear(message)
