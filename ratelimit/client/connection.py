"""A connection to the limiter, with bounds on every wait and an answer also where nobody gives one.

Every call goes out under an id that counts once, so that it may be repeated whatever became of it. What is repeated is
only what may have failed by chance: UNAVAILABLE and a deadline that passed.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Literal, Self

import grpc
from google.protobuf.message import Message

from protos.ratelimit.v1 import limiter_pb2 as wire
from ratelimit.client.exchange import Exchange
from ratelimit.client.values import AWAY, BROKEN, LimiterRefused
from ratelimit.client.verbs import Verbs
from serving.channels import bearer, open_channel

SERVICE = "weir.ratelimit.v1.LimiterService"

# Precedent: Envoy gives a rate limit service 20 ms; here a caller waits that is about to wait for a model.
TIMEOUT_SECONDS = 0.25
# Nobody waits for a settlement but the end of its block.
SETTLE_TIMEOUT_SECONDS = 5.0
ATTEMPTS = 3
_PAUSE_SECONDS = 0.02
EXCHANGE_CALLS_MAX = 256
EXCHANGE_IN_FLIGHT_MAX = 10_000


_log = logging.getLogger(__name__)


class LimiterClient(Verbs):
    """One domain of a running limiter."""

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
        super().__init__(domain, on_error, timeout_seconds, settle_timeout_seconds)
        self._metadata = bearer(token)
        self._channel = open_channel(target, credentials)
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

    @asynccontextmanager
    async def exchange(
        self, *, calls_max: int = EXCHANGE_CALLS_MAX, in_flight_max: int = EXCHANGE_IN_FLIGHT_MAX
    ) -> AsyncIterator[Exchange]:
        """Ask over one stream while the `async with` runs: for callers with many calls at a time.

        What waits goes out together, at most `calls_max` in a message (the service takes API_EXCHANGE_CALLS_MAX), and at most
        `in_flight_max` calls are under way; others wait for them, and no call waits longer than it would alone.
        """
        stream = self._channel.stream_stream(
            f"/{SERVICE}/Exchange", wire.ExchangeRequest.SerializeToString, wire.ExchangeResponse.FromString
        )
        exchange = Exchange(
            lambda: stream(metadata=self._metadata),
            calls_max=calls_max,
            in_flight_max=in_flight_max,
            domain=self.domain,
            on_error=self._on_error,
            timeout_seconds=self._timeout_seconds,
            settle_timeout_seconds=self._settle_timeout_seconds,
        )
        exchange.start()
        try:
            yield exchange
        finally:
            await exchange.stop()

    async def ask(self, name: str, request: Message, timeout_seconds: float) -> Any:  # noqa: ANN401 - a message of that method
        """Return the answer, or None where there is none in time."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                share = timeout_seconds / ATTEMPTS
                return await self._methods[name](request, timeout=share, metadata=self._metadata)
            except grpc.aio.AioRpcError as error:
                if error.code() in BROKEN:
                    return None
                if error.code() not in AWAY:
                    raise LimiterRefused(f"{error.code().name}: {error.details()}") from None
            if attempt < ATTEMPTS:
                await asyncio.sleep(random.uniform(0.5, 1.0) * min(_PAUSE_SECONDS * attempt, share))  # noqa: S311 - spreads repetitions
        return None
