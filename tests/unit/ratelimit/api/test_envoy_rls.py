from __future__ import annotations

from math import inf

import pytest

from protos.interop.rls.v1 import rls_pb2
from ratelimit.accounting import StatsTable
from ratelimit.api.denials import DenialLog
from ratelimit.api.envoy_rls import EnvoyRls
from ratelimit.limiter import Limiter
from ratelimit.limits import Windows
from ratelimit.plan import Planner
from ratelimit.settings import ConfigSettings, LimiterSettings
from ratelimit.source import Rules
from ratelimit.specs import DomainSpec
from ratelimit.stores.memory import MemoryStore
from serving.calls import Call, Caller
from serving.metrics import Registry
from tests.fakes.clock import FakeClock
from tests.fakes.rules import HERE, limit


class Service:
    def __init__(self) -> None:
        self.registry = Registry()
        self.rules = Rules(ConfigSettings(), self.registry)
        clock, stats = FakeClock(), StatsTable(series_max=10, domains_max=1, ttl_seconds=60)
        self.rls = EnvoyRls(
            limiter=Limiter(MemoryStore(10), clock, stats, windows=Windows()),
            planner=Planner(),
            rules=self.rules,
            settings=LimiterSettings(),
            registry=self.registry,
            stats=stats,
            denials=DenialLog(0),
            clock=clock,
        )

    async def remaining(self, *messages: bytes) -> list[int]:
        replies = await self.rls.should_rate_limit([Call(message, inf, Caller("p")) for message in messages])
        return [
            rls_pb2.RateLimitResponse.FromString(reply).statuses[0].limit_remaining
            for reply in replies
            if isinstance(reply, bytes)
        ]

    def plans(self, what: str) -> float:
        return next(sample.value for sample in self.registry.samples() if sample.name == f"weir.plans.{what}")


@pytest.fixture
async def service() -> Service:
    made = Service()
    await made.rules.apply([DomainSpec(HERE, "d", (limit("a", 100),))])
    return made


def ask(hits: int = 0, own_hits: int | None = None, request_id: str = "") -> bytes:
    message = rls_pb2.RateLimitRequest(domain="d", hits_addend=hits)
    descriptor = message.descriptors.add()
    descriptor.entries.add(key="a", value="1")
    if request_id:
        descriptor.entries.add(key="_request_id", value=request_id)
    if own_hits is not None:
        descriptor.hits_addend.value = own_hits
    return message.SerializeToString()


async def test_requests_that_differ_in_their_hits_are_planned_once(service: Service) -> None:
    assert await service.remaining(ask(hits=2), ask(hits=3), ask(hits=4)) == [98, 95, 91]
    assert service.plans("misses") == 1


async def test_descriptors_that_differ_in_their_hits_are_planned_once(service: Service) -> None:
    assert await service.remaining(ask(own_hits=2), ask(own_hits=4), ask(own_hits=7)) == [98, 94, 87]
    assert service.plans("misses") == 1


async def test_requests_that_differ_in_their_id_are_planned_once(service: Service) -> None:
    assert await service.remaining(ask(request_id="x1"), ask(request_id="y2")) == [99, 98]
    assert service.plans("misses") == 1


async def test_a_request_that_cannot_be_taken_apart_is_planned_once_in_each_batch(service: Service) -> None:
    late = ask() + b"\x18\x02\x18\x03"

    assert await service.remaining(late, late) == [97, 94]
    assert await service.remaining(late) == [91]
    assert [service.plans(what) for what in ("hits", "misses", "entries")] == [1, 2, 0]


async def test_headers_for_the_upstream_are_given_where_settings_say_so(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMIT_REQUEST_HEADERS_ENABLED", "true")
    monkeypatch.setenv("LIMIT_REQUEST_REMAINING_HEADER", "x-left")
    await service.rules.apply([DomainSpec(HERE, "d", (limit("a", 100),))])

    (reply,) = await service.rls.should_rate_limit([Call(ask(), inf, Caller("p"))])

    assert isinstance(reply, bytes)
    added = rls_pb2.RateLimitResponse.FromString(reply).request_headers_to_add
    assert [(header.key, header.value) for header in added[:2]] == [("RateLimit-Limit", "100"), ("x-left", "99")]


async def test_a_large_request_is_planned_each_time(service: Service) -> None:
    large = rls_pb2.RateLimitRequest.FromString(ask())
    large.descriptors[0].entries[0].value = "x" * 3_000

    assert await service.remaining(large.SerializeToString()) == [99]
    assert service.plans("entries") == 0
