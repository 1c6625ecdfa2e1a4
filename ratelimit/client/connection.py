"""A connection to the limiter, with bounds on every wait and an answer also where nobody gives one.

Every call goes out under an id that counts once, so that it may be repeated whatever became of it. What is repeated is
only what may have failed by chance: UNAVAILABLE and a deadline that passed.
"""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Literal, Self

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from protos.ratelimit.v1 import limiter_pb2 as wire
from ratelimit.client.block import Block
from ratelimit.client.hold import Hold, held
from ratelimit.client.lease import Lease
from ratelimit.client.values import (
    Answer,
    LimiterAway,
    LimiterRefused,
    OverLimit,
    read_answer,
    write_amount,
    write_descriptors,
)
from serving.clock import SystemClock

SERVICE = "weir.ratelimit.v1.LimiterService"

# Precedent: Envoy gives a rate limit service 20 ms; here a caller waits that is about to wait for a model.
TIMEOUT_SECONDS = 0.25
# Nobody waits for a settlement but the end of its block.
SETTLE_TIMEOUT_SECONDS = 5.0
ATTEMPTS = 3
# A block is spent before a window of a minute is over, and no more than a tenth of a limit lies with one client.
LEASE_SECONDS = 1.0
LEASE_TOKENS_MAX = 1_000_000
LEASE_FRACTION_MAX = 0.1
_PAUSE_SECONDS = 0.02

_AWAY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
# Its own trouble, and not the caller's fault; but it is no use to repeat it at once.
_BROKEN = {
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.CANCELLED,
}

_log = logging.getLogger(__name__)


class LimiterClient:
    """One domain of a running limiter.

    A descriptor is named by keywords in the order of the rules: `check(tenant="acme", model="gpt-4o")`. Several are given
    by `descriptors=[{"tenant": "acme"}, {"tenant": "acme", "model": "gpt-4o"}]`; then all of them must have room.
    """

    def __init__(  # noqa: PLR0913 - by keyword
        self,
        target: str,
        *,
        domain: str,
        token: str = "",
        credentials: grpc.ChannelCredentials | None = None,
        on_error: Literal["open", "closed", "raise"] = "open",
        timeout_seconds: float = TIMEOUT_SECONDS,
        settle_timeout_seconds: float = SETTLE_TIMEOUT_SECONDS,
    ) -> None:
        """Prepare a connection; `credentials` make it TLS, `token` is sent as a bearer token.

        `on_error` says what holds where nobody answers in `timeout_seconds`: `open` lets pass, `closed` refuses, `raise`
        raises `LimiterAway`.
        """
        self.domain = domain
        self._on_error = on_error
        self._timeout_seconds = timeout_seconds
        self._settle_timeout_seconds = settle_timeout_seconds
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(target)
        else:
            self._channel = grpc.aio.secure_channel(target, credentials)
        self._methods = {
            name: self._method(name) for name in ("Check", "Charge", "Reserve", "Settle", "Release", "Refund")
        }

    def _method(self, name: str) -> Any:  # noqa: ANN401 - grpc's callables are not generic at run time
        request, response = getattr(wire, f"{name}Request"), getattr(wire, f"{name}Response")
        return self._channel.unary_unary(f"/{SERVICE}/{name}", request.SerializeToString, response.FromString)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

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
        response = await self._ask("Reserve", request, self._timeout_seconds)
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
            return await self._ask("Refund", request, min(seconds, self._settle_timeout_seconds)) is not None

        lease = Lease(Block(ttl_seconds, tokens_max, max_fraction), charge, refund, SystemClock())
        try:
            yield lease
        finally:
            await asyncio.shield(asyncio.ensure_future(lease.close()))

    async def _end(self, request: wire.SettleRequest | wire.ReleaseRequest) -> None:
        name = "Settle" if isinstance(request, wire.SettleRequest) else "Release"
        # Also where the block is cancelled: what was used is told first.
        response = await asyncio.shield(asyncio.ensure_future(self._ask(name, request, self._settle_timeout_seconds)))
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
        response = await self._ask(name, request, self._timeout_seconds)
        return self._unanswered() if response is None else read_answer(response.verdict)

    def _unanswered(self) -> Answer:
        if self._on_error == "raise":
            raise LimiterAway("no answer")
        return Answer(self._on_error == "open", is_answered=False)

    async def _ask(self, name: str, request: Message, timeout_seconds: float) -> Any:  # noqa: ANN401 - a message of that method
        """Return the answer, or None where there is none in time."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                share = timeout_seconds / ATTEMPTS
                return await self._methods[name](request, timeout=share, metadata=self._metadata)
            except grpc.aio.AioRpcError as error:
                if error.code() in _BROKEN:
                    return None
                if error.code() not in _AWAY:
                    raise LimiterRefused(f"{error.code().name}: {error.details()}") from None
            if attempt < ATTEMPTS:
                await asyncio.sleep(random.uniform(0.5, 1.0) * min(_PAUSE_SECONDS * attempt, share))  # noqa: S311 - spreads repetitions
        return None


def _duration(seconds: float) -> Duration:
    return Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))
