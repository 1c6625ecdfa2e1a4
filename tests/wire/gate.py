"""A handler for wire tests: it echoes, notes what it was given, and waits while it is shut."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from serving.calls import Call, Reply


class Gate:
    """`answer` says what to reply to a call; by default its own message."""

    def __init__(self, answer: Callable[[Call], Reply] = lambda call: call.message) -> None:
        self.answer = answer
        self.calls: list[Call] = []
        self.batches: list[int] = []
        self._opened = asyncio.Event()
        self._opened.set()

    @property
    def messages(self) -> list[bytes]:
        return [call.message for call in self.calls]

    def open(self) -> None:
        self._opened.set()

    def shut(self) -> None:
        self._opened.clear()

    async def __call__(self, calls: Sequence[Call]) -> Sequence[Reply]:
        self.calls += calls
        self.batches.append(len(calls))
        await self._opened.wait()
        return [self.answer(call) for call in calls]


async def until(holds: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for a condition, for so long at most."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what it waits for is on the other end of a wire
            await asyncio.sleep(0.002)
