"""Tokens that a client spends by itself, out of blocks that it takes as it needs them.

    async with limits.lease(tenant="acme") as lease:
        await lease.spend(120)      out of the block, or after one round trip that takes another

`ratelimit.client.block` has the rules.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from ratelimit.client.block import Block
from ratelimit.client.values import Answer, LimiterRefused, OverLimit
from serving.clock import Clock

_log = logging.getLogger(__name__)

Charge = Callable[[int], Awaitable[Answer]]
Refund = Callable[[int, float], Awaitable[bool]]
"""Tokens, and the seconds in which they must have gone back; whether they did."""


class Lease:
    """Blocks of one descriptor; tasks may share it."""

    def __init__(self, block: Block, charge: Charge, refund: Refund, clock: Clock) -> None:
        self._block = block
        self._charge = charge
        self._refund = refund
        self._clock = clock
        self._taking = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None
        self.answer: Answer | None = None
        """How the limits stood when a block was last asked for; None: none was yet."""

    @property
    def left(self) -> int:
        """Return what can be spent without asking."""
        return self._block.left if self._clock.steady() < self._block.ends_at else 0

    async def spend(self, tokens: int = 1) -> None:
        """Spend tokens.

        Raises:
            OverLimit: they do not fit; nothing is spent.
            LimiterError: see `values`.
        """
        if not await self.try_spend(tokens):
            raise OverLimit(self.answer or Answer(is_allowed=False))

    async def try_spend(self, tokens: int = 1) -> bool:
        """Spend tokens; return False where they do not fit.

        Raises:
            LimiterError: see `values`.
        """
        if tokens < 0:
            raise LimiterRefused("tokens are given back by the lease itself, not by spending less than none")
        if self._block.spend(tokens, self._clock.steady()):
            return True
        async with self._taking:
            # Perhaps somebody else took a block meanwhile.
            if self._block.spend(tokens, self._clock.steady()):
                return True
            if self._clock.steady() >= self._block.ends_at:
                await self._give_back()
            self.answer = await self._take(tokens)
            return self.answer.is_allowed

    async def close(self) -> None:
        """Give back what is left."""
        async with self._taking:
            # Not while it gives back by itself: that would be given up half way.
            if self._watching is not None:
                self._watching.cancel()
                with suppress(asyncio.CancelledError):
                    await self._watching
            await self._give_back()

    async def _take(self, tokens: int) -> Answer:
        """Have a block charged that has these tokens; near the limit a smaller one, at least as large as they need."""
        wanted = self._block.wanted(tokens, self._clock.steady())
        while True:
            answer = await self._ask(wanted, tokens)
            room = answer.remaining or 0
            if answer.is_allowed or (wanted == tokens and not self._block.left) or room + self._block.left < tokens:
                return answer
            if wanted == tokens or room < tokens:
                # What they lack is in what is left here.
                await self._give_back()
            # Others may take from that room, too: each attempt asks for half of the one before at most.
            wanted = max(tokens, min(room, wanted // 2))

    async def _ask(self, wanted: int, tokens: int) -> Answer:
        sent_at = self._clock.steady()
        answer = await self._charge(wanted)
        if answer.is_allowed and answer.is_answered:
            if self._block.left and self._clock.steady() >= self._block.ends_at:
                await self._give_back()
            # At once, as by a charge of their own: they are admitted, however late the answer came.
            self._block.grant(wanted, tokens, answer.limits, sent_at)
            self._watch()
        return answer

    async def _give_back(self) -> None:
        left, seconds = self._block.close(self._clock.steady())
        if not left:
            return
        try:
            # Half of the time, so that it is not counted in the next window either where the way there is long.
            is_back = await self._refund(left, seconds / 2)
        except LimiterRefused as refused:
            is_back = False
            _log.warning("what a lease has left stays spent: %s", refused)
        if not is_back:
            _log.info("%d tokens of a lease could not be given back: they stay spent", left)

    def _watch(self) -> None:
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._until_it_ends())

    async def _until_it_ends(self) -> None:
        """Give a block back that nobody asks for any more."""
        while self._block.left:
            pause = self._block.ends_at - self._clock.steady()
            if pause > 0:
                await asyncio.sleep(pause)
                continue
            async with self._taking:
                if self._clock.steady() >= self._block.ends_at:
                    await self._give_back()
