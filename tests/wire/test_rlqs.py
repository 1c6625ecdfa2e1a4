"""The quota service over the wire: envoy.service.rate_limit_quota.v3, rlqs.proto."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from protos.interop.rlqs.v1 import rlqs_pb2 as wire
from ratelimit.accounting import StatsTable
from ratelimit.api.rlqs import PATH, RlqsApi
from ratelimit.dynamic_limit import Place
from ratelimit.errors import StoreUnavailable
from ratelimit.known_limits import KnownLimits
from ratelimit.limiter import Limiter
from ratelimit.limits import Limit, Unit, Windows
from ratelimit.plan import Planner
from ratelimit.settings import ConfigSettings, QuotaSettings
from ratelimit.source import Rules
from ratelimit.store import Admission, AdmissionOutcome, Ledger, Outcome
from ratelimit.stores.memory import MemoryStore
from ratelimit.stores.memory_limits import MemoryLimits
from serving.metrics import Registry
from tests.fakes.clock import FakeClock
from tests.fakes.rules import read_specs

RULES = """
domain: d
descriptors:
  - key: user
    rate_limit: { unit: hour, requests_per_unit: 100, ceiling: 500 }
    descriptors:
      - key: model
        rate_limit: { unit: second, requests_per_unit: 10 }
  - key: free
    rate_limit: { unlimited: true }
"""
PATIENCE_SECONDS = 30.0
TTL_SECONDS = 30
Action = wire.RateLimitQuotaResponse.BucketAction


class Envoy:
    """One replica of a gateway: a stream."""

    def __init__(self, target: str) -> None:
        self._channel = grpc.aio.insecure_channel(target)
        method = self._channel.stream_stream(
            PATH,
            request_serializer=wire.RateLimitQuotaUsageReports.SerializeToString,
            response_deserializer=wire.RateLimitQuotaResponse.FromString,
        )
        self.call: Any = method()
        self._domain = "d"

    async def report(self, bucket: dict[str, str], allowed: int = 0, denied: int = 0) -> Action:
        """Report on one bucket, and return what comes back."""
        await self.send(bucket, allowed, denied)
        return await self.hear()

    async def send(self, bucket: dict[str, str], allowed: int = 0, denied: int = 0) -> None:
        usages = wire.RateLimitQuotaUsageReports(domain=self._domain)
        self._domain = ""
        usage = usages.bucket_quota_usages.add(num_requests_allowed=allowed, num_requests_denied=denied)
        usage.bucket_id.bucket.update(bucket)
        usage.time_elapsed.FromSeconds(1)
        await self.call.write(usages)

    async def hear(self) -> Action:
        response = await asyncio.wait_for(self.call.read(), PATIENCE_SECONDS)
        assert isinstance(response, wire.RateLimitQuotaResponse), self.call
        [action] = response.bucket_action
        return action

    async def hear_on(self) -> None:
        """Take whatever comes, to the end of the stream."""
        while True:
            await self.hear()

    async def close(self) -> None:
        self.call.cancel()
        await self._channel.close()


def tokens(action: Action) -> int:
    """Return what may be let through until the next report; -1: everything."""
    strategy = action.quota_assignment_action.rate_limit_strategy
    if strategy.WhichOneof("strategy") == "token_bucket":
        return strategy.token_bucket.max_tokens
    return 0 if strategy.blanket_rule == wire.RateLimitStrategy.DENY_ALL else -1


class MaybeAwayStore(MemoryStore):
    """A memory store that may be away."""

    is_away = False

    async def admit(
        self, ledgers: Sequence[Ledger], admissions: Sequence[Admission], now: float
    ) -> tuple[Sequence[Outcome], Sequence[AdmissionOutcome]]:
        if self.is_away:
            return [], [StoreUnavailable("away")] * len(admissions)
        return await super().admit(ledgers, admissions, now)


@dataclass
class Bench:
    target: str
    clock: FakeClock
    store: MaybeAwayStore
    registry: Registry
    api: RlqsApi
    known: KnownLimits
    envoys: list[Envoy]

    @property
    def is_waited_for(self) -> bool:
        """Whether some stream takes no more before it is read."""
        return any(stream.outgoing.full() for stream in self.api._streams)

    def envoy(self) -> Envoy:
        self.envoys.append(Envoy(self.target))
        return self.envoys[-1]

    async def set_limit(self, user: str, amount: int) -> None:
        """Have an amount in force in place of the rule's."""
        limits = MemoryLimits(self.clock, limits_max=1)
        place = Place.of("d", (("user", user),), Limit(100, Unit.HOUR))
        await limits.put(place.name, amount, ttl_ms=0, expected_version=None, deadline=math.inf)
        self.known.take(await limits.read(0, deadline=math.inf), self.clock.steady())

    def value(self, name: str) -> float:
        return next(sample.value for sample in self.registry.samples() if sample.name == f"weir.rlqs.{name}")

    async def until(self, name: str, value: float) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.value(name) < value:  # noqa: ASYNC110 - a condition elsewhere
                await asyncio.sleep(0.005)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    clock, registry = FakeClock(), Registry()
    rules = Rules(ConfigSettings(), registry)
    await rules.apply(read_specs(RULES))
    stats = StatsTable(series_max=100, domains_max=10, ttl_seconds=60)
    store = MaybeAwayStore(1_000)
    limiter = Limiter(store, clock, stats, windows=Windows())
    settings = QuotaSettings(assignment_ttl=TTL_SECONDS, abandon_after=600, streams_max=3, buckets_max=2)
    known = KnownLimits()
    planner = Planner(limits=known)
    api = RlqsApi(limiter=limiter, planner=planner, rules=rules, settings=settings, clock=clock, registry=registry)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((api.handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    made = Bench(f"127.0.0.1:{port}", clock, store, registry, api, known, [])
    yield made
    for envoy in made.envoys:
        await envoy.close()
    await server.stop(None)


async def test_an_assignment_is_what_is_left_and_is_reported_on_its_bucket(bench: Bench) -> None:
    action = await bench.envoy().report({"user": "alice"}, allowed=30)

    assert dict(action.bucket_id.bucket) == {"user": "alice"}
    assert action.quota_assignment_action.assignment_time_to_live.seconds == TTL_SECONDS
    assert tokens(action) == 70


async def test_a_dynamic_limit_is_what_is_assigned_of(bench: Bench) -> None:
    envoy = bench.envoy()
    before = await envoy.report({"user": "alice"}, allowed=30)
    await bench.set_limit("alice", 500)
    after = await envoy.report({"user": "alice"}, allowed=10)

    assert (tokens(before), tokens(after)) == (70, 460)


async def test_nothing_left_is_deny_all_until_the_window_ends(bench: Bench) -> None:
    bench.clock.advance(3_600 - 1_200 - 5)
    action = await bench.envoy().report({"user": "alice"}, allowed=100)

    assert tokens(action) == 0
    assert action.quota_assignment_action.assignment_time_to_live.seconds == 5


@pytest.mark.parametrize("bucket", [{"free": "x"}, {"nothing": "x"}], ids=["unlimited", "no rule"])
async def test_what_nothing_limits_is_allow_all(bench: Bench, bucket: dict[str, str]) -> None:
    assert tokens(await bench.envoy().report(bucket, allowed=1_000)) == -1


async def test_a_bucket_finds_its_rule_in_the_order_of_the_tree(bench: Bench) -> None:
    action = await bench.envoy().report({"model": "large", "user": "alice"}, allowed=4)

    bucket = action.quota_assignment_action.rate_limit_strategy.token_bucket
    assert (bucket.max_tokens, bucket.tokens_per_fill.value, bucket.fill_interval.seconds) == (10, 10, 1)


async def test_replicas_share_by_what_they_ask_for_and_hear_of_changes(bench: Bench) -> None:
    first, second = bench.envoy(), bench.envoy()

    alone = tokens(await first.report({"user": "alice"}))
    its = tokens(await second.report({"user": "alice"}, allowed=20))
    pushed = tokens(await first.hear())

    assert (alone, its, pushed) == (100, 80, 0)


async def test_what_a_replica_leaves_goes_to_the_others(bench: Bench) -> None:
    first, second = bench.envoy(), bench.envoy()
    await first.report({"user": "alice"})
    await second.report({"user": "alice"})
    await first.hear()
    await second.close()

    async def share() -> int:
        return tokens(await first.report({"user": "alice"}))

    async with asyncio.timeout(PATIENCE_SECONDS):
        while await share() != 100:  # noqa: ASYNC110 - what is waited for is another's end
            await asyncio.sleep(0.01)


async def test_a_bucket_that_nobody_uses_is_abandoned(bench: Bench) -> None:
    envoy = bench.envoy()
    await envoy.report({"user": "alice"}, allowed=1)

    bench.clock.advance(599)
    kept = await envoy.report({"user": "alice"})
    bench.clock.advance(1)
    abandoned = await envoy.report({"user": "alice"})

    assert kept.WhichOneof("bucket_action") == "quota_assignment_action"
    assert abandoned.WhichOneof("bucket_action") == "abandon_action"


@pytest.mark.parametrize(
    ("domain", "bucket", "detail"),
    [
        ("", {"user": "alice"}, "domain: is missing in the first report"),
        ("d", {}, "bucket_id: 1 to 6 pairs of non-empty texts are wanted"),
        ("d", {"user": ""}, "bucket_id: 1 to 6 pairs of non-empty texts are wanted"),
    ],
    ids=["no domain", "no pairs", "no value"],
)
async def test_a_bad_report_ends_its_stream_and_no_other(
    bench: Bench, domain: str, bucket: dict[str, str], detail: str
) -> None:
    bad, good = bench.envoy(), bench.envoy()
    bad._domain = domain

    with pytest.raises(grpc.aio.AioRpcError):
        await bad.report(bucket)

    assert (await bad.call.code(), await bad.call.details()) == (grpc.StatusCode.INVALID_ARGUMENT, detail)
    assert tokens(await good.report({"user": "alice"})) == 100


async def test_buckets_of_a_stream_are_bounded(bench: Bench) -> None:
    envoy = bench.envoy()
    await envoy.report({"user": "a"})
    await envoy.report({"user": "b"})

    with pytest.raises(grpc.aio.AioRpcError):
        await envoy.report({"user": "c"})

    assert await envoy.call.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_streams_are_bounded(bench: Bench) -> None:
    for _ in range(3):
        await bench.envoy().report({"user": "a"})
    refused = bench.envoy()

    with pytest.raises(grpc.aio.AioRpcError):
        await refused.report({"user": "a"})

    assert await refused.call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_what_was_told_last_holds_while_counters_are_away(bench: Bench) -> None:
    envoy = bench.envoy()
    await envoy.report({"user": "a"}, allowed=30)
    bench.store.is_away = True
    await envoy.send({"user": "a"}, allowed=20)
    await bench.until("reports", 2)
    bench.store.is_away = False

    # Nothing was said of the report between: what it reported is lost, as its gateway's fallback allows for.
    assert tokens(await envoy.report({"user": "a"}, allowed=10)) == 60


async def test_a_share_that_did_not_move_is_not_pushed(bench: Bench) -> None:
    first, second = bench.envoy(), bench.envoy()
    await first.report({"user": "a"}, denied=1)
    await second.report({"user": "a"}, denied=1)
    await first.hear()

    await second.report({"user": "a"}, denied=1)

    assert bench.value("pushes") == 1


# Some of these are more than what HTTP/2 takes for a stream that is not read.
LARGE = {"user": "x" * 60_000}


async def test_who_does_not_read_his_assignments_is_sent_away(bench: Bench) -> None:
    envoy, sent = bench.envoy(), 0
    while not bench.is_waited_for:
        await envoy.send(LARGE)
        sent += 1
        await bench.until("reports", sent)
    await envoy.send(LARGE)
    await bench.until("reports", sent + 1)

    with pytest.raises(grpc.aio.AioRpcError):
        await envoy.hear_on()

    assert (await envoy.call.code(), await envoy.call.details()) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "assignments are not read",
    )


async def test_pushes_that_are_not_read_are_left_out_and_end_no_stream(bench: Bench) -> None:
    silent, loud = bench.envoy(), bench.envoy()
    await silent.report(LARGE, denied=1)
    demands = itertools.cycle([0, 1])
    while not bench.is_waited_for:
        await loud.report(LARGE, denied=next(demands))
    pushed = bench.value("pushes")
    for _ in range(4):
        await loud.report(LARGE, denied=next(demands))

    assert bench.value("pushes") == pushed
    assert tokens(await silent.hear()) >= 0
