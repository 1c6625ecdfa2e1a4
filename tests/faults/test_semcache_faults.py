"""What a lookup answers when something behind it breaks: a miss or a bypass with its reason, in time, and a metric."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration
from pydantic import SecretStr

from protos.semcache.v1 import semcache_pb2 as wire
from semcache.app import Service
from semcache.embedder import Embedded
from semcache.errors import EmbedUnavailable, StoreUnavailable
from semcache.settings import CacheSettings, QdrantSettings, SemcacheRedisSettings
from semcache.stores.edge.store import EdgeStore
from serving.clock import SystemClock
from tests.fakes.ports import free_port
from tests.fakes.qdrant_server import QdrantServer
from tests.fakes.redis_servers import RedisServer, running
from tests.fakes.semcache_service import NAMESPACES, PATIENT, Served, lookup, serving, settings, store

# What the client in process, which the Qdrant server here is made of, says of itself.
pytestmark = [pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning")]

PASSWORD = "How do I reset my password?"
OTHER = "What is a weir and what is it for?"
DEADLINE_SECONDS = 0.5
# What the answer may take beyond its deadline on a machine under load: less than a lookup may without one.
GRACE_SECONDS = 10.0


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with running() as server:
        yield server


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(settings(tmp_path, NAMESPACES)) as served:
        assert (await served.call(store(PASSWORD))).stored
        yield served


def engine(service: Service) -> int:
    (each,) = service.stores._stores.values()  # type: ignore[attr-defined]
    assert isinstance(each, EdgeStore)
    return each.shard.pid


async def timed(served: Served, request: wire.LookupRequest) -> tuple[str, str, bool]:
    clock = SystemClock()
    request.deadline.CopyFrom(Duration(nanos=int(DEADLINE_SECONDS * 1e9)))
    started = clock.steady()
    response = await served.call(request)
    is_in_time = clock.steady() - started < DEADLINE_SECONDS + GRACE_SECONDS
    return wire.Outcome.Name(response.outcome), wire.Reason.Name(response.reason), is_in_time


async def test_a_store_that_stands_still_is_a_bypass_and_goes_on_afterwards(served: Served) -> None:
    pid = engine(served.service)
    os.kill(pid, signal.SIGSTOP)
    try:
        told = await timed(served, lookup(PASSWORD))
        # The search ends at the same moment by a timer of its own, maybe after the answer: until then it must not go on.
        await served.until(lambda: served.value("searches.late") == 1)
    finally:
        os.kill(pid, signal.SIGCONT)

    assert told == ("OUTCOME_BYPASS", "REASON_STORE_AWAY", True)
    assert served.value("lookups", outcome="bypass", reason="store_away") == 1
    assert (await served.call(lookup(PASSWORD))).outcome == wire.OUTCOME_EXACT


async def test_a_store_that_dies_is_a_bypass_and_comes_back_with_what_it_had(served: Served) -> None:
    os.kill(engine(served.service), signal.SIGKILL)
    told = await timed(served, lookup(PASSWORD))
    outcome = wire.OUTCOME_BYPASS
    while outcome == wire.OUTCOME_BYPASS:
        outcome = (await served.call(lookup(PASSWORD))).outcome

    assert told in {("OUTCOME_BYPASS", "REASON_STORE_AWAY", True), ("OUTCOME_EXACT", "REASON_UNSPECIFIED", True)}
    assert outcome == wire.OUTCOME_EXACT


async def test_an_offer_to_a_dead_store_is_refused_and_its_lease_given_back(served: Served) -> None:
    request = lookup(OTHER, lease=True)
    missed = await served.call(request)
    (each,) = served.service.stores._stores.values()  # type: ignore[attr-defined]
    each.shard._restart = lambda: None
    os.kill(engine(served.service), signal.SIGKILL)
    await served.until(lambda: not each.is_healthy)

    kept = await served.call(store(OTHER, lease_id=missed.lease_id))

    assert (kept.stored, wire.Refusal.Name(kept.refusal)) == (False, "REFUSAL_STORE")
    assert served.value("offers", refusal="store") == 1
    released = await served.call(wire.ReleaseLeaseRequest(namespace="support", lease_id=missed.lease_id))
    assert not released.released


async def test_an_administrator_is_told_that_the_store_is_away(served: Served) -> None:
    (each,) = served.service.stores._stores.values()  # type: ignore[attr-defined]
    each.shard._restart = lambda: None
    os.kill(engine(served.service), signal.SIGKILL)
    await served.until(lambda: not each.is_healthy)

    calls = [wire.DescribeRequest(namespace="support"), wire.InvalidateRequest(namespace="support", tenant="acme")]

    assert [(await served.status(call))[0] for call in calls] == ["UNAVAILABLE"] * 2


async def test_a_model_that_fails_is_a_miss_and_equal_prompts_are_still_found(served: Served) -> None:
    (embedder,) = served.service.models._embedders.values()

    async def fail(texts: object, deadline: float = 0.0) -> Embedded:
        raise EmbedUnavailable(f"{type(texts)} {deadline}")

    embedder.embed = fail  # type: ignore[method-assign, assignment]

    missed, exact = [await served.call(lookup(prompt)) for prompt in (OTHER, PASSWORD)]

    assert (missed.outcome, missed.reason) == (wire.OUTCOME_MISS, wire.REASON_EMBEDDER)
    assert exact.outcome == wire.OUTCOME_EXACT
    assert served.value("lookups", outcome="miss", reason="embedder") == 1
    kept = await served.call(store(OTHER))
    assert wire.Refusal.Name(kept.refusal) == "REFUSAL_EMBEDDER"


async def test_without_redis_each_caller_fetches_for_himself(redis: RedisServer, tmp_path: Path) -> None:
    shared = SemcacheRedisSettings(url=SecretStr(str(redis.path)), timeout=5.0)
    async with serving(settings(tmp_path, NAMESPACES, redis=shared)) as served:
        redis.stop()
        answers = [await served.call(lookup(OTHER, lease=True, fill_wait=Duration(seconds=30))) for _ in range(2)]
        kept = await served.call(store(OTHER))

    assert [(each.outcome, each.lease_id) for each in answers] == [(wire.OUTCOME_MISS, "")] * 2
    assert served.value("leases.failed") >= 2
    assert kept.stored


async def test_a_redis_that_is_away_in_the_beginning_keeps_nobody_from_lookups(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    redis = RedisServer()
    pace = {"startup_initial_interval": 0.05, "startup_max_elapsed_time": 0.2}
    shared = SemcacheRedisSettings(url=SecretStr(str(redis.path)), timeout=5.0, **pace)
    try:
        async with serving(settings(tmp_path, NAMESPACES, redis=shared)) as served:
            leased = missed = await served.call(lookup(OTHER, lease=True))
            await served.until(lambda: "fill leases are not had" in caplog.text)
            await asyncio.to_thread(redis.start)
            while not leased.lease_id:
                leased = await served.call(lookup(OTHER, lease=True))
    finally:
        redis.remove()

    assert (missed.outcome, missed.lease_id) == (wire.OUTCOME_MISS, "")
    assert leased.outcome == wire.OUTCOME_MISS


async def test_a_folder_that_another_process_has_ends_the_start(tmp_path: Path) -> None:
    async with serving(settings(tmp_path, NAMESPACES)):
        with pytest.raises(StoreUnavailable, match="another process has"):
            async with serving(settings(tmp_path, NAMESPACES)):
                pass


async def test_a_damaged_store_is_a_bypass_from_the_start_and_touched_by_nobody(tmp_path: Path) -> None:
    async with serving(settings(tmp_path, NAMESPACES)) as served:
        await served.call(store(PASSWORD))
    (damaged,) = (tmp_path / "edge").glob("models/*/1/edge_config.json")
    whole = damaged.read_text()
    damaged.write_text("{")

    async with serving(settings(tmp_path, NAMESPACES, cache=CacheSettings(**PATIENT, retry_interval=0.1))) as served:
        told = await timed(served, lookup(PASSWORD))
        kept = await served.call(store(OTHER))
        describing = await served.status(wire.DescribeRequest(namespace="support"))
        damaged.write_text(whole)
        outcome = wire.OUTCOME_BYPASS
        while outcome == wire.OUTCOME_BYPASS:
            outcome = (await served.call(lookup(PASSWORD))).outcome

    assert told == ("OUTCOME_BYPASS", "REASON_STORE_AWAY", True)
    assert (kept.stored, describing[0]) == (False, "UNAVAILABLE")
    assert outcome == wire.OUTCOME_EXACT


async def test_a_server_that_is_away_in_the_beginning_is_a_bypass_until_it_comes(tmp_path: Path) -> None:
    server = QdrantServer()
    server.port = free_port()
    qdrant = QdrantSettings(url=SecretStr("http://127.0.0.1:6333"), grpc_port=server.port, timeout=20.0)
    cache = CacheSettings(**PATIENT, retry_interval=0.1)
    async with serving(settings(tmp_path, NAMESPACES, qdrant=qdrant, cache=cache)) as served:
        told = await timed(served, lookup(PASSWORD))
        await server.start()
        outcome = wire.OUTCOME_BYPASS
        while outcome == wire.OUTCOME_BYPASS:
            outcome = (await served.call(lookup(PASSWORD))).outcome
        kept = await served.call(store(PASSWORD))

        assert told == ("OUTCOME_BYPASS", "REASON_STORE_AWAY", True)
        assert (outcome, kept.stored) == (wire.OUTCOME_MISS, True)
        assert (await served.call(lookup(PASSWORD))).outcome == wire.OUTCOME_EXACT
    await server.stop()
