"""Two replicas over one Qdrant and one Redis: who asks the same at the same time shares one fetch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from itertools import product
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration
from pydantic import SecretStr

from protos.semcache.v1 import semcache_pb2 as wire
from semcache.settings import QdrantSettings, SemcacheRedisSettings
from tests.fakes.qdrant_server import QdrantServer
from tests.fakes.redis_servers import RedisServer, running
from tests.fakes.semcache_service import Served, lookup, serving, settings, store

pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
]

NAMESPACES = """
namespaces:
  - name: support
    explore: 0
    threshold: 0.8
    callers: [{anyone: true, roles: [administer]}]
"""
CALLERS = 50
BEGINNINGS = ("How do I", "How can I", "How could I", "How do you", "How to")
ENDINGS = ("", "?", " please", " please?", "??", "!", " now", " now?", " today", " today?")
NEAR = [f"{one} reset my password{other}" for one, other in product(BEGINNINGS, ENDINGS)]


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with running() as server:
        yield server


@pytest.fixture
async def replicas(redis: RedisServer, tmp_path: Path) -> AsyncIterator[tuple[Served, Served]]:
    redis.ask("FLUSHALL")
    qdrant = QdrantServer()
    await qdrant.start()
    shared = {
        "qdrant": QdrantSettings(url=SecretStr("http://127.0.0.1:6333"), grpc_port=qdrant.port, timeout=20.0),
        "redis": SemcacheRedisSettings(url=SecretStr(str(redis.path))),
    }
    async with AsyncExitStack() as stack:
        served = [await stack.enter_async_context(serving(settings(tmp_path, NAMESPACES, **shared))) for _ in range(2)]
        yield served[0], served[1]
    await qdrant.stop()


async def ask(served: Served, prompt: str, fetched: list[str]) -> wire.LookupResponse:
    """Do as a gateway does: look up, and fetch where that is one's own to do."""
    found: wire.LookupResponse = await served.call(lookup(prompt, lease=True, fill_wait=Duration(seconds=45)))
    if not found.HasField("completion"):
        fetched.append(prompt)
        await served.call(store(prompt, lease_id=found.lease_id, lookup_id=found.lookup_id))
    return found


async def test_fifty_equal_prompts_make_one_fetch(replicas: tuple[Served, Served]) -> None:
    fetched: list[str] = []

    answers = await asyncio.gather(
        *(ask(replicas[number % 2], "How do I reset my password?", fetched) for number in range(CALLERS))
    )

    assert len(fetched) == 1
    assert sum(answer.outcome == wire.OUTCOME_EXACT for answer in answers) == CALLERS - 1


async def test_fifty_near_equal_prompts_make_one_fetch(replicas: tuple[Served, Served]) -> None:
    fetched: list[str] = []
    assert len(set(NEAR)) == CALLERS

    answers = await asyncio.gather(*(ask(replicas[number % 2], prompt, fetched) for number, prompt in enumerate(NEAR)))

    assert len(fetched) == 1
    assert sum(answer.outcome == wire.OUTCOME_SEMANTIC for answer in answers) == CALLERS - 1


async def test_what_one_replica_invalidates_no_replica_serves(replicas: tuple[Served, Served]) -> None:
    first, second = replicas
    prompt = "How do I reset my password?"
    await first.call(store(prompt))
    before = await second.call(lookup(prompt))

    await first.call(wire.InvalidateRequest(namespace="support", everything=wire.Everything()))

    after = [await replica.call(lookup(prompt)) for replica in replicas]
    assert before.outcome == wire.OUTCOME_EXACT
    assert [each.outcome for each in after] == [wire.OUTCOME_MISS] * 2


async def test_feedback_at_one_replica_is_heard_by_the_other_though_it_counts_uses(
    replicas: tuple[Served, Served],
) -> None:
    first, second = replicas
    prompt = "How do I reset my password?"
    await first.call(store(prompt))
    hit = await second.call(lookup(prompt))

    await first.call(wire.FeedbackRequest(namespace="support", lookup_id=hit.lookup_id, judgement=wire.JUDGEMENT_WRONG))
    await second.service.cache.upkeep.flush()

    assert (await second.call(lookup(prompt))).outcome == wire.OUTCOME_MISS
