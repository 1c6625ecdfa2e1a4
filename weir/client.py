"""Asks a running rate limit service, and says what it answered in plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import grpc.aio

from protos.interop.rls.v1 import rls_pb2 as rls
from serving.channels import open_channel

SHOULD_RATE_LIMIT = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"

# Precedent: a person waits; Envoy itself gives the call 20 ms.
ASK_TIMEOUT_SECONDS = 5.0

Entries = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service said about one descriptor."""

    entries: Entries
    is_over: bool
    amount: int | None
    """None where no limit applies: nothing matched, or the rule is unlimited."""
    unit: str
    name: str
    remaining: int
    reset_seconds: int

    @property
    def spent(self) -> int:
        """Hits in this window, as far as the service tells: never above the limit."""
        return (self.amount or 0) - self.remaining if self.amount else 0


@dataclass(frozen=True, slots=True)
class Answers:
    """The folded answer, and one for each descriptor in the order asked."""

    is_over: bool
    answers: tuple[Answer, ...]


class AskError(Exception):
    """The service could not be asked, or refused the question."""


def request(domain: str, descriptors: Sequence[Entries], hits: int) -> rls.RateLimitRequest:
    """Return the question; `hits` 0 looks and spends nothing."""
    message = rls.RateLimitRequest(domain=domain)
    for entries in descriptors:
        descriptor = message.descriptors.add()
        # The wrapper of each descriptor and not the request's own field: there 0 counts as 1.
        descriptor.hits_addend.value = hits
        for key, value in entries:
            descriptor.entries.add(key=key, value=value)
    return message


def read(descriptors: Sequence[Entries], response: rls.RateLimitResponse) -> Answers:
    """Return the answer in plain values."""
    statuses = zip(descriptors, response.statuses, strict=True)
    return Answers(
        response.overall_code == rls.RateLimitResponse.OVER_LIMIT,
        tuple(_answer(entries, status) for entries, status in statuses),
    )


def _answer(entries: Entries, status: rls.RateLimitResponse.DescriptorStatus) -> Answer:
    limit = status.current_limit if status.HasField("current_limit") else None
    return Answer(
        entries,
        status.code == rls.RateLimitResponse.OVER_LIMIT,
        limit.requests_per_unit if limit else None,
        rls.RateLimitResponse.RateLimit.Unit.Name(limit.unit).lower() if limit else "",
        limit.name if limit else "",
        status.limit_remaining,
        status.duration_until_reset.seconds,
    )


class Client:
    """One connection to a service; with credentials, by TLS."""

    def __init__(self, target: str, credentials: grpc.ChannelCredentials | None = None) -> None:
        self._channel = open_channel(target, credentials)
        self._method = self._channel.unary_unary(
            SHOULD_RATE_LIMIT,
            request_serializer=rls.RateLimitRequest.SerializeToString,
            response_deserializer=rls.RateLimitResponse.FromString,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def ask(self, domain: str, descriptors: Sequence[Entries], hits: int = 0) -> Answers:
        """Ask about all descriptors in one call.

        Raises:
            AskError: no answer.
        """
        try:
            response = await self._method(request(domain, descriptors, hits), timeout=ASK_TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise AskError(f"{error.code().name}: {error.details()}") from None
        return read(descriptors, response)
