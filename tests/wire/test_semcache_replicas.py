"""Two replicas over one Qdrant and one Redis: they share fetches, invalidations, and what feedback teaches."""

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
from semcache.settings import CacheSettings, QdrantSettings, SemcacheRedisSettings
from tests.fakes.qdrant_server import QdrantServer
from tests.fakes.redis_servers import RedisServer, running
from tests.fakes.semcache_service import PATIENT, Served, lookup, serving, settings, store

pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
]

NAMESPACES = """
namespaces:
  - name: support
    explore: 0
    threshold: 0.75  # of any two of `NEAR`: the least is .798, whoever comes first
    callers: &all [{anyone: true, roles: [administer]}]
  - {name: gated, explore: 0, target_error: 0.05, callers: *all}
"""
CALLERS = 50
JUDGED = 40
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
        "cache": CacheSettings(**PATIENT, state_interval=0.05),
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


@pytest.mark.parametrize("named", ["tag", "scope_id", "tenant", "entry_id"])
async def test_what_one_replica_invalidates_another_does_not_keep_that_was_fetching_it(
    replicas: tuple[Served, Served], named: str
) -> None:
    first, second = replicas
    prompt, other = "How do I reset my password?", "What is a weir and what is it for?"
    kept = await first.call(store(prompt, tags=["faq"]))
    await first.call(wire.InvalidateRequest(namespace="support", tag="faq"))
    asked, unrelated = [await second.call(lookup(each, lease=True)) for each in (prompt, other)]
    values = {"tag": "faq", "scope_id": asked.scope_id, "tenant": "acme", "entry_id": kept.entry_id}

    await first.call(wire.InvalidateRequest(namespace="support", **{named: values[named]}))

    offered = await second.call(store(prompt, tags=["faq"], lease_id=asked.lease_id))
    spared = await second.call(store(other, lookup_id=unrelated.lookup_id))
    anew = await second.call(store(prompt, tags=["faq"], lookup_id=(await second.call(lookup(prompt))).lookup_id))
    assert (offered.stored, offered.refusal) == (False, wire.REFUSAL_INVALIDATED)
    assert (spared.stored, anew.stored) == (named in {"tag", "entry_id"}, True)


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


async def test_a_gate_that_feedback_at_one_replica_closes_is_closed_at_the_other(
    replicas: tuple[Served, Served],
) -> None:
    first, second = replicas
    prompt, near = "How do I reset my password?", lookup("How can I reset my password?", "gated")
    await first.call(store(prompt, namespace="gated"))
    hits = [await first.call(near) for _ in range(JUDGED)]
    before = await second.call(near)

    for hit in hits:
        wrong = wire.FeedbackRequest(namespace="gated", lookup_id=hit.lookup_id, judgement=wire.JUDGEMENT_WRONG)
        await first.call(wrong)

    await until_labels(second, JUDGED)
    await first.call(store(prompt, "By telephone.", "gated"))
    after = [await replica.call(near) for replica in replicas]
    states = [await described(replica) for replica in replicas]
    assert before.outcome == wire.OUTCOME_SEMANTIC
    assert {each.outcome for each in after} == {wire.OUTCOME_MISS}
    assert after[0].reason == after[1].reason in {wire.REASON_GATE_CLOSED, wire.REASON_LOW_CONFIDENCE}
    assert [(state.is_gate_open, state.labels) for state in states] == [(states[0].is_gate_open, states[0].labels)] * 2


async def described(served: Served) -> wire.NamespaceState:
    response: wire.DescribeResponse = await served.call(wire.DescribeRequest(namespace="gated"))
    return response.namespaces[0]


async def until_labels(served: Served, number: int) -> None:
    """Wait until a replica has heard of so many judgements; the test's own timeout bounds it."""
    gate = served.service.judges.gate
    namespace = served.service.source.current.find("gated")
    assert namespace is not None
    backend = served.service.models.of(namespace)
    assert backend is not None
    await served.until(lambda: len(gate(namespace, backend.model).labels) == number)
