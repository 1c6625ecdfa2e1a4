"""The cache with the real engine, model and verifier, when one of them is slow, full or gone: answer, bound, metric."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semcache.answers import Answer, Ask, Kept, Offer, Outcome, Reason, Refusal, Turn
from semcache.backends import Backend
from semcache.cache import Cache
from semcache.calibration import Gate
from semcache.embedders.onnx import OnnxEmbedder
from semcache.judging import Judges
from semcache.leases.memory import MemoryLeases
from semcache.prompt import normalise
from semcache.scope import Scope
from semcache.settings import CacheSettings, EdgeSettings, EmbedderSettings, LeaseSettings, SweeperSettings
from semcache.stores.edge.root import EdgeStores
from semcache.stores.edge.store import EdgeStore
from semcache.sweeper import Sweeper
from semcache.verifier import fitted
from serving.clock import SystemClock
from serving.metrics import Registry
from tests.fakes.caches import OneBackend, completion, namespace
from tests.fakes.models import model_folder

DEADLINE_SECONDS = 1.0
# Of a lookup that nothing holds up: a machine under load is slow.
PATIENCE_SECONDS = 20.0
# What a busy machine may add: the bound is that a lookup does not wait for the store's own timeout of 30 s.
BOUND_SECONDS = 10.0
KEPT, NEAR = "How do I reset my password?", "How can I reset my password?"


@dataclass
class House:
    """A cache and what can fail behind it."""

    cache: Cache
    store: EdgeStore
    embedder: OnnxEmbedder
    clock: SystemClock
    registry: Registry
    seconds: float = 0.0

    async def lookup(self, prompt: str, **fields: Any) -> Answer:
        before = time.perf_counter()
        ask = Ask(
            **{
                "namespace": namespace(threshold=0.9, target_error=None),
                "scope": Scope("support", tenant="acme"),
                "turn": Turn(normalise(prompt)),
                "deadline": self.clock.steady() + PATIENCE_SECONDS,
                **fields,
            }
        )
        (answer,) = await self.cache.lookup([ask])
        answer = answer if isinstance(answer, Answer) else await answer
        self.seconds = time.perf_counter() - before
        return answer

    async def keep(self, prompt: str, text: str = "By mail.") -> Kept:
        offer = Offer(
            namespace=namespace(threshold=0.9, target_error=None, retention={"text_bytes_max": 10**7}),
            scope=Scope("support", tenant="acme"),
            turn=Turn(normalise(prompt)),
            completion=completion(text),
            deadline=self.clock.steady() + 20,
        )
        (kept,) = await self.cache.store([offer])
        return kept

    def counted(self, name: str, **labels: str) -> float:
        return sum(
            sample.value
            for sample in self.registry.samples()
            if sample.name == f"weir.semcache.{name}" and labels.items() <= sample.labels.items()
        )

    async def until_answered(self, prompt: str, outcome: Outcome) -> None:
        async with asyncio.timeout(50):
            while (await self.lookup(prompt)).outcome is not outcome:  # noqa: ASYNC110 - a process starts
                await asyncio.sleep(0.01)


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110 - a state, of which nobody tells
            await asyncio.sleep(0.001)


@contextmanager
def held(world: House) -> Iterator[None]:
    """Have the model stand still in its thread."""
    queue = world.embedder._queue
    assert queue is not None
    go_on, work = threading.Event(), queue._work

    def wait(texts: Sequence[str]) -> Any:
        go_on.wait()
        return work(texts)

    queue._work = wait
    try:
        yield
    finally:
        go_on.set()
        queue._work = work


def is_taken(world: House) -> bool:
    """Return whether the model has begun with all that waited for it."""
    queue = world.embedder._queue
    assert queue is not None
    return bool(queue._under_way) and not queue._waiting


@asynccontextmanager
async def house(folder: Path, **embedder_settings: Any) -> AsyncIterator[House]:
    clock, registry, shipped = SystemClock(), Registry(), fitted.load()
    stores = EdgeStores(EdgeSettings(folder=str(folder), timeout=30.0, flush_interval=0.2))
    await stores.start()
    embedder = OnnxEmbedder(model_folder(), EmbedderSettings(**embedder_settings), clock)
    await embedder.start()
    store = await stores.open(embedder.identity)
    judges = Judges(shipped.verifier, lambda bounds, model: Gate(bounds, shipped.curve, model))
    backends = OneBackend(Backend(embedder, store, 0))
    leases = MemoryLeases(LeaseSettings(), clock)
    purge = Sweeper(stores, dict, SweeperSettings(), clock, registry).purge
    cache = Cache(stores, backends, leases, judges, purge, CacheSettings(), clock, registry)
    await cache.start()
    try:
        yield House(cache, store, embedder, clock, registry)
    finally:
        with suppress(ProcessLookupError):
            os.kill(store.shard.pid, signal.SIGCONT)
        await cache.stop()
        await stores.stop()
        await embedder.stop()


async def test_all_well_is_an_exact_and_a_semantic_hit(tmp_path: Path) -> None:
    async with house(tmp_path) as world:
        await world.keep(KEPT)

        outcomes = [(await world.lookup(prompt)).outcome for prompt in (KEPT, NEAR)]

    assert outcomes == [Outcome.EXACT, Outcome.SEMANTIC]


async def test_a_store_that_hangs_is_a_bypass_at_the_deadline(tmp_path: Path) -> None:
    async with house(tmp_path) as world:
        await world.keep(KEPT)
        os.kill(world.store.shard.pid, signal.SIGSTOP)

        answer = await world.lookup(KEPT, deadline=world.clock.steady() + DEADLINE_SECONDS)

        assert (answer.outcome, answer.reason) == (Outcome.BYPASS, Reason.STORE_AWAY)
        assert DEADLINE_SECONDS * 0.9 <= world.seconds < BOUND_SECONDS
        assert world.counted("lookups", outcome="bypass", reason="store_away") == 1
        await until(lambda: world.counted("searches.late") == 1)
        os.kill(world.store.shard.pid, signal.SIGCONT)
        await world.until_answered(KEPT, Outcome.EXACT)


async def test_a_store_whose_process_is_killed_is_a_bypass_at_once_and_comes_back(tmp_path: Path) -> None:
    async with house(tmp_path) as world:
        await world.keep(KEPT)
        os.kill(world.store.shard.pid, signal.SIGKILL)
        await until(lambda: not world.store.is_healthy)

        answer = await world.lookup(KEPT)

        assert (answer.outcome, answer.reason) == (Outcome.BYPASS, Reason.STORE_AWAY)
        assert world.seconds < BOUND_SECONDS
        assert world.counted("lookups", outcome="bypass", reason="store_away") == 1
        await world.until_answered(KEPT, Outcome.EXACT)
        await world.until_answered(NEAR, Outcome.SEMANTIC)


async def test_a_full_disk_refuses_what_is_new_and_serves_what_is_there(tmp_path: Path) -> None:
    async with house(tmp_path) as world:
        await world.keep(KEPT)
        # As a full disk, for this one process: no file of it grows any more.
        resource.prlimit(world.store.shard.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        refusals: list[Refusal] = []
        while Refusal.STORE not in refusals and len(refusals) < 40:
            noise = random.Random(len(refusals)).randbytes(4_000_000).hex()
            refusals.append((await world.keep(f"{KEPT} {len(refusals)}", noise)).refusal)

        assert refusals[-1] is Refusal.STORE
        assert (await world.lookup(KEPT)).outcome is Outcome.EXACT
        assert (await world.lookup(NEAR)).outcome is Outcome.SEMANTIC
        assert world.counted("offers", refusal="store") == refusals.count(Refusal.STORE)

        resource.prlimit(world.store.shard.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        async with asyncio.timeout(40):
            while (await world.keep("How do I renew my lease?")).refusal is not Refusal.NONE:  # noqa: ASYNC110 - upkeep
                await asyncio.sleep(0.05)
        assert (await world.lookup(KEPT)).outcome is Outcome.EXACT


async def test_a_full_queue_of_the_model_leaves_exact_hits_and_says_so(tmp_path: Path) -> None:
    async with house(tmp_path, queue_texts_max=2, batch_texts_max=2) as world:
        await world.keep(KEPT)
        with held(world):
            under_way = asyncio.create_task(world.embedder.embed(["one text", "another"]))
            await until(lambda: is_taken(world))
            waiting = asyncio.create_task(world.embedder.embed(["a third", "a fourth"]))
            await asyncio.sleep(0)

            near = await world.lookup(NEAR)
            exact = await world.lookup(KEPT)

        assert (near.outcome, near.reason) == (Outcome.MISS, Reason.EMBEDDER)
        assert exact.outcome is Outcome.EXACT
        assert world.counted("lookups", outcome="miss", reason="embedder") == 1
        waiting.cancel()
        await asyncio.gather(under_way, waiting, return_exceptions=True)
        await world.until_answered(NEAR, Outcome.SEMANTIC)


async def test_a_slow_model_is_a_miss_at_the_deadline(tmp_path: Path) -> None:
    async with house(tmp_path) as world:
        await world.keep(KEPT)
        with held(world):
            near = await world.lookup(NEAR, deadline=world.clock.steady() + DEADLINE_SECONDS)

        assert (near.outcome, near.reason) == (Outcome.MISS, Reason.EMBEDDER)
        assert world.seconds < BOUND_SECONDS


async def test_a_stopped_model_leaves_exact_hits_and_says_so(tmp_path: Path) -> None:
    async with house(tmp_path) as world:
        await world.keep(KEPT)
        await world.embedder.stop()

        exact, near = await world.lookup(KEPT), await world.lookup(NEAR)

        assert exact.outcome is Outcome.EXACT
        assert (near.outcome, near.reason) == (Outcome.MISS, Reason.EMBEDDER)
        assert world.counted("lookups", outcome="miss", reason="embedder") == 1
        assert (await world.keep("Something new?")).refusal is Refusal.EMBEDDER
