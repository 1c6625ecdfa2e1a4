"""Reservations through LimiterService, wherever counters live."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from protos.ratelimit.v1 import limiter_pb2 as wire
from serving.calls import StatusCode
from tests.contract.harness import CLUSTER, MEMORY, SINGLE, Harness, Kind
from tests.contract.redis_stores import opened, settings
from tests.fakes.clock import FakeClock
from tests.fakes.desks import Apis
from tests.fakes.redis_servers import running

RULES = """
domain: llm
descriptors:
  - key: plain
    rate_limit: {unit: hour, requests_per_unit: 10000}
  - key: fixed
    rate_limit: {amount: 10000, window: 5h, reserve: {ttl: 60s}}
  - key: sliding
    rate_limit: {amount: 10000, window: 1h, algorithm: sliding_window}
  - key: bucket
    rate_limit: {amount: 10, window: 1h, algorithm: token_bucket, burst: 10000}
  - key: tenant
    rate_limit: {amount: 10000, window: 5h}
    descriptors:
      - key: model
        rate_limit: {amount: 5000, window: 1h, algorithm: sliding_window}
"""
TAGGED = f"hash_tag: [tenant]{RULES}"
RULES_KEYS = ("plain", "fixed", "sliding", "bucket")

on_scripts = pytest.mark.parametrize(
    "harness", [MEMORY, SINGLE, CLUSTER], ids=lambda kind: kind.name if isinstance(kind, Kind) else "", indirect=True
)
on_keys = pytest.mark.parametrize("key", RULES_KEYS)


class Callers:
    """Replicas over one store; each test has descriptors of its own."""

    def __init__(self, harness: Harness) -> None:
        self.clock = FakeClock()
        self.value = uuid.uuid4().hex
        self.harness = harness

    async def replica(self, rules: str = RULES, clock: FakeClock | None = None) -> Apis:
        return await Apis(rules, store=self.harness.store, clock=clock or self.clock).start()

    def descriptor(self, *keys: str) -> wire.Descriptor:
        return wire.Descriptor(entries=[wire.Entry(key=key, value=self.value) for key in keys])

    async def reserve(self, apis: Apis, hits: int, *descriptors: wire.Descriptor) -> wire.ReserveResponse:
        request = wire.ReserveRequest(domain="llm", descriptors=descriptors, amount=wire.Amount(hits=hits))
        return await apis.ask("Reserve", request, wire.ReserveResponse)

    async def settle(self, apis: Apis, held: wire.ReserveResponse, hits: int) -> wire.SettleResponse:
        request = wire.SettleRequest(reservation_id=held.reservation_id, amount=wire.Amount(hits=hits))
        return await apis.ask("Settle", request, wire.SettleResponse)

    async def stands(self, apis: Apis, *descriptors: wire.Descriptor) -> list[tuple[int, int]]:
        """Return what is spent and held."""
        request = wire.CheckRequest(domain="llm", descriptors=descriptors, amount=wire.Amount())
        response = await apis.ask("Check", request, wire.CheckResponse)
        return [(counter.spent, counter.held) for status in response.verdict.statuses for counter in status.counters]


@pytest.fixture
def callers(harness: Harness) -> Callers:
    return Callers(harness)


@on_scripts
@on_keys
async def test_of_a_hundred_callers_at_once_as_many_are_admitted_as_there_is_room_for(
    callers: Callers, key: str
) -> None:
    replicas = [await callers.replica() for _ in range(4)]
    wanted = callers.descriptor(key)
    answers = await asyncio.gather(*(callers.reserve(replicas[number % 4], 1_000, wanted) for number in range(100)))

    assert sum(answer.verdict.code == wire.CODE_OK for answer in answers) == 10
    assert await callers.stands(replicas[0], wanted) == [(0, 10_000)]


@on_scripts
@on_keys
async def test_what_callers_who_are_gone_held_is_back_after_its_time_and_nothing_is_spent(
    callers: Callers, key: str
) -> None:
    apis, wanted = await callers.replica(), callers.descriptor(key)
    for _ in range(10):
        await callers.reserve(apis, 1_000, wanted)
    refused = await callers.reserve(apis, 1, wanted)
    callers.clock.advance(121)

    assert refused.verdict.code == wire.CODE_OVER_LIMIT
    assert await callers.stands(apis, wanted) == [(0, 0)]
    assert (await callers.reserve(apis, 10_000, wanted)).granted == 10_000


@on_scripts
@on_keys
async def test_a_replica_that_was_started_since_settles_once(callers: Callers, key: str) -> None:
    before, wanted = await callers.replica(), callers.descriptor(key)
    held = await callers.reserve(before, 1_000, wanted)
    after = await callers.replica()
    settled = [await callers.settle(after, held, 400) for _ in range(3)]

    assert [answer.held for answer in settled] == [True, False, False]
    assert await callers.stands(after, wanted) == [(400, 0)]


@on_scripts
@on_keys
@pytest.mark.parametrize("behind_seconds", [-30, 30])
async def test_a_replica_whose_clock_is_in_another_window_settles_where_it_was_admitted(
    callers: Callers, key: str, behind_seconds: int
) -> None:
    # The hour, and the window of five, begin ten seconds ago for the one, and in twenty for the other.
    callers.clock.advance(1_700_010_000 - callers.clock.wall() + (10 if behind_seconds > 0 else -10))
    before, wanted = await callers.replica(), callers.descriptor(key)
    held = await callers.reserve(before, 1_000, wanted)
    other = await callers.replica(clock=FakeClock(callers.clock.wall() - behind_seconds))
    settled = await callers.settle(other, held, 400)

    assert settled.held is True
    assert await callers.stands(before, wanted) == [(400, 0)]


@on_scripts
async def test_descriptors_of_one_slot_are_all_or_nothing(callers: Callers) -> None:
    apis = await callers.replica(TAGGED)
    both = callers.descriptor("tenant"), callers.descriptor("tenant", "model")
    answers = await asyncio.gather(*(callers.reserve(apis, 1_000, *both) for _ in range(20)))

    assert sum(answer.verdict.code == wire.CODE_OK for answer in answers) == 5
    assert await callers.stands(apis, *both) == [(0, 5_000), (0, 5_000)]


@pytest.mark.parametrize("harness", [CLUSTER], ids=["cluster"], indirect=True)
async def test_descriptors_of_several_slots_cannot_be_and_it_is_said(callers: Callers) -> None:
    apis = await callers.replica()
    apart = [callers.descriptor("plain"), callers.descriptor("sliding")]
    request = wire.ReserveRequest(domain="llm", descriptors=apart, amount=wire.Amount(hits=1))
    failure = await apis.failure("Reserve", request)

    assert failure.status == StatusCode.FAILED_PRECONDITION
    assert "hash_tag" in failure.detail
    assert await callers.stands(apis, *apart) == [(0, 0), (0, 0)]


@on_scripts
async def test_what_a_plain_rule_spends_by_reservations_envoys_calls_see(callers: Callers) -> None:
    apis, wanted = await callers.replica(), callers.descriptor("plain")
    held = await callers.reserve(apis, 1_000, wanted)
    await callers.settle(apis, held, 700)
    window = int(callers.clock.wall()) // 3600 * 3600

    found = await callers.harness.read(f"llm_plain_{callers.value}_{window}")
    assert found is not None
    assert found[0] == 700


async def test_while_redis_is_away_nothing_is_counted_and_it_is_said() -> None:
    with running() as server:
        async with opened(settings(server.path, socket_type="unix", timeout=10.0)) as store:
            apis = await Apis(RULES, store=store, clock=FakeClock()).start()
            server.stop()
            wanted = wire.Descriptor(entries=[wire.Entry(key="plain", value="a")])
            request = wire.ChargeRequest(domain="llm", descriptors=[wanted], request_id="x")
            # The first may have been under way when the server went.
            await apis.replies("Charge", request)
            failure = await apis.failure("Charge", request)

    assert failure.status == StatusCode.UNAVAILABLE
