"""What a caller can ask of one domain, whatever way its questions take.

Every call goes out under an id that counts once, so that it may be repeated whatever became of it.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from protos.ratelimit.v1 import limiter_pb2 as wire
from ratelimit.client.block import Block
from ratelimit.client.hold import Hold, held
from ratelimit.client.lease import Lease
from ratelimit.client.values import (
    Answer,
    LimiterAway,
    OverLimit,
    read_answer,
    write_amount,
    write_descriptors,
)
from serving.clock import SystemClock

# A block is spent before a window of a minute is over, and no more than a tenth of a limit lies with one client.
LEASE_SECONDS = 1.0
LEASE_TOKENS_MAX = 1_000_000
LEASE_FRACTION_MAX = 0.1

_log = logging.getLogger(__name__)


class Verbs(ABC):
    """The calls of LimiterService.

    A descriptor is named by keywords in the order of the rules: `check(tenant="acme", model="gpt-4o")`. Several are given
    by `descriptors=[{"tenant": "acme"}, {"tenant": "acme", "model": "gpt-4o"}]`; then all of them must have room.
    """

    def __init__(
        self,
        domain: str,
        on_error: Literal["open", "closed", "raise"],
        timeout_seconds: float,
        settle_timeout_seconds: float,
    ) -> None:
        self.domain = domain
        self._on_error = on_error
        self._timeout_seconds = timeout_seconds
        self._settle_timeout_seconds = settle_timeout_seconds

    @abstractmethod
    async def ask(self, name: str, request: Message, timeout_seconds: float) -> Any:  # noqa: ANN401 - a message of that method
        """Return the answer of a method, or None where there is none in time.

        Raises:
            LimiterRefused: it is refused, and will be the next time.
        """

    async def check(
        self,
        tokens: int | None = None,
        *,
        kinds: Mapping[str, int] | None = None,
        descriptors: Sequence[Mapping[str, str]] | None = None,
        **entries: str,
    ) -> Answer:
        """Say whether an amount would fit now, and how the limits stand; spends nothing.

        Raises:
            LimiterError: see `values`.
        """
        request = wire.CheckRequest(**self._common(tokens, kinds, descriptors, entries))
        return await self._answer("Check", request)

    async def charge(
        self,
        tokens: int | None = None,
        *,
        kinds: Mapping[str, int] | None = None,
        is_done: bool = False,
        request_id: str = "",
        descriptors: Sequence[Mapping[str, str]] | None = None,
        **entries: str,
    ) -> Answer:
        """Spend, on all limits or on none; nothing said is 1. `is_done`: the work is done, so it is spent whatever is left.

        Raises:
            LimiterError: see `values`.
        """
        request = wire.ChargeRequest(
            **self._common(tokens, kinds, descriptors, entries),
            request_id=request_id or uuid.uuid4().hex,
            force=is_done,
        )
        return await self._answer("Charge", request)

    async def refund(
        self,
        tokens: int | None = None,
        *,
        kinds: Mapping[str, int] | None = None,
        request_id: str = "",
        descriptors: Sequence[Mapping[str, str]] | None = None,
        **entries: str,
    ) -> Answer:
        """Give back what was spent, never below 0; nothing said is 1.

        Raises:
            LimiterError: see `values`.
        """
        request = wire.RefundRequest(
            **self._common(tokens, kinds, descriptors, entries),
            request_id=request_id or uuid.uuid4().hex,
        )
        return await self._answer("Refund", request)

    @asynccontextmanager
    async def reserve(
        self,
        tokens: int | None = None,
        *,
        kinds: Mapping[str, int] | None = None,
        ttl_seconds: float = 0.0,
        request_id: str = "",
        descriptors: Sequence[Mapping[str, str]] | None = None,
        **entries: str,
    ) -> AsyncIterator[Hold]:
        """Set an estimate aside while the block runs, on all limits or on none; without one, the rules' default.

        Raises:
            OverLimit: there is no room; the block does not run.
            LimiterError: see `values`.
        """
        common = self._common(tokens, kinds, descriptors, entries)
        request = wire.ReserveRequest(**common, request_id=request_id or uuid.uuid4().hex, ttl=_duration(ttl_seconds))
        response = await self.ask("Reserve", request, self._timeout_seconds)
        if response is None:
            answer = self._unanswered()
            hold = Hold(answer)
        else:
            answer = read_answer(response.verdict)
            hold = held(response, answer)
        if not answer.is_allowed:
            raise OverLimit(answer)
        is_failed = True
        try:
            yield hold
            is_failed = False
        finally:
            if hold.reservation_id:
                await self._end(hold.end(request.amount if request.HasField("amount") else None, is_failed=is_failed))

    @asynccontextmanager
    async def lease(
        self,
        *,
        ttl_seconds: float = LEASE_SECONDS,
        tokens_max: int = LEASE_TOKENS_MAX,
        max_fraction: float = LEASE_FRACTION_MAX,
        descriptors: Sequence[Mapping[str, str]] | None = None,
        **entries: str,
    ) -> AsyncIterator[Lease]:
        """Spend by blocks while the `async with` runs: for callers that spend often, and a little each time.

        A block is charged when it is taken, is used for `ttl_seconds`, and has at most `tokens_max` tokens or this fraction of
        the smallest limit, unless more is spent at once. What is left goes back; for that the role `refund` is needed, without
        it what is left stays spent.

        Raises:
            LimiterError: see `values`.
        """
        common = self._common(None, None, descriptors, entries)

        async def charge(tokens: int) -> Answer:
            request = wire.ChargeRequest(**{**common, "amount": wire.Amount(hits=tokens)}, request_id=uuid.uuid4().hex)
            return await self._answer("Charge", request)

        async def refund(tokens: int, seconds: float) -> bool:
            request = wire.RefundRequest(**{**common, "amount": wire.Amount(hits=tokens)}, request_id=uuid.uuid4().hex)
            return await self.ask("Refund", request, min(seconds, self._settle_timeout_seconds)) is not None

        lease = Lease(Block(ttl_seconds, tokens_max, max_fraction), charge, refund, SystemClock())
        try:
            yield lease
        finally:
            await asyncio.shield(asyncio.ensure_future(lease.close()))

    async def _end(self, request: wire.SettleRequest | wire.ReleaseRequest) -> None:
        name = "Settle" if isinstance(request, wire.SettleRequest) else "Release"
        # Also where the block is cancelled: what was used is told first.
        response = await asyncio.shield(asyncio.ensure_future(self.ask(name, request, self._settle_timeout_seconds)))
        if response is None:
            _log.warning("a reservation could not be ended by %s: what it holds is given back at its deadline", name)
            if self._on_error == "raise":
                raise LimiterAway(f"{name}: no answer")

    def _common(
        self,
        tokens: int | None,
        kinds: Mapping[str, int] | None,
        descriptors: Sequence[Mapping[str, str]] | None,
        entries: Mapping[str, str],
    ) -> dict[str, Any]:
        return {
            "domain": self.domain,
            "descriptors": write_descriptors(descriptors, entries),
            "amount": write_amount(tokens, kinds),
        }

    async def _answer(self, name: str, request: Message) -> Answer:
        response = await self.ask(name, request, self._timeout_seconds)
        return self._unanswered() if response is None else read_answer(response.verdict)

    def _unanswered(self) -> Answer:
        if self._on_error == "raise":
            raise LimiterAway("no answer")
        return Answer(self._on_error == "open", is_answered=False)


def _duration(seconds: float) -> Duration:
    return Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))
