from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from semcache.embedder import ModelIdentity
from semcache.entry import Record, State
from semcache.errors import StoreUnavailable
from semcache.settings import SweeperSettings
from semcache.store import Selector
from semcache.sweeper import ENTRIES, ENTRIES_MAX, Sweeper
from serving.metrics import Registry
from tests.fakes.clock import FakeClock
from tests.fakes.entries import MODEL, NOW, row
from tests.fakes.store import FakeStore, FakeStores

OTHER_MODEL = ModelIdentity("test/other", "r1", "fp32", MODEL.dimensions)


class CountingStore(FakeStore):
    """Remembers how many entries went at a time."""

    def __init__(self, identity: ModelIdentity) -> None:
        super().__init__(identity)
        self.batches: list[int] = []

    async def remove(self, selector: Selector, limit: int) -> int:
        self.batches.append(await super().remove(selector, limit))
        return self.batches[-1]

    async def evict(self, namespace: str, limit: int) -> int:
        self.batches.append(await super().evict(namespace, limit))
        return self.batches[-1]


@dataclass
class Bench:
    stores: FakeStores = field(default_factory=FakeStores)
    clock: FakeClock = field(default_factory=lambda: FakeClock(NOW))
    registry: Registry = field(default_factory=Registry)
    capacities: dict[str, int] = field(default_factory=lambda: {"support": 100, "sales": 100})

    def sweeper(self, **settings: float) -> Sweeper:
        values = {"pause": 0.0, "batch_entries_max": 4, **settings}
        return Sweeper(self.stores, lambda: self.capacities, SweeperSettings(**values), self.clock, self.registry)  # type: ignore[arg-type] # names of its fields

    async def open(self, identity: ModelIdentity = MODEL) -> CountingStore:
        store = CountingStore(identity)
        self.stores._stores[identity.slug] = store
        return store

    def removed_age(self) -> float:
        named = "weir.semcache.removed_text_age_seconds"
        return next(sample.value for sample in self.registry.samples() if sample.name == named)

    def swept(self) -> dict[str, float]:
        return {
            sample.labels["reason"]: sample.value
            for sample in self.registry.samples()
            if sample.name == "weir.semcache.swept" and sample.value
        }


@pytest.fixture
def bench() -> Bench:
    return Bench()


def prompts(store: FakeStore) -> set[str]:
    return {each.entry.prompt for each in store.rows.values()}


async def test_what_is_expired_goes_and_nothing_else(bench: Bench) -> None:
    store = await bench.open()
    await store.add([row("over", expires_at=NOW), row("lives", expires_at=NOW + 1)])

    await bench.sweeper().sweep()

    assert prompts(store) == {"lives"}
    assert bench.swept() == {"expired": 1}


async def test_entries_of_older_epochs_go_in_their_namespace_only(bench: Bench) -> None:
    store = await bench.open()
    epoch = await bench.stores.advance_epoch("support", NOW)
    await store.add([row("old"), row("new", epoch=epoch), row("elsewhere", namespace="sales")])

    await bench.sweeper().sweep()

    assert prompts(store) == {"new", "elsewhere"}
    assert bench.swept() == {"epoch": 1}


async def test_beyond_capacity_goes_what_is_worth_least(bench: Bench) -> None:
    store = await bench.open()
    bench.capacities["support"] = 2
    await store.add(
        [
            row("used", record=Record(hits=50, used_at=NOW)),
            row("right", record=Record(right=5, used_at=NOW)),
            row("never used", record=Record(used_at=NOW - 3600)),
            row("wrong", record=Record(hits=50, wrong=1, used_at=NOW)),
            row("quarantined", record=Record(State.QUARANTINED, hits=50, used_at=NOW)),
            row("elsewhere", namespace="sales"),
        ]
    )

    await bench.sweeper().sweep()

    assert prompts(store) == {"used", "right", "elsewhere"}
    assert bench.swept() == {"capacity": 3}


async def test_what_is_expired_does_not_push_out_what_lives(bench: Bench) -> None:
    store = await bench.open()
    bench.capacities["support"] = 1
    await store.add([row("over", expires_at=NOW, record=Record(hits=9, used_at=NOW)), row("lives")])

    await bench.sweeper().sweep()

    assert prompts(store) == {"lives"}


async def test_no_batch_is_larger_than_it_may_be(bench: Bench) -> None:
    store = await bench.open()
    bench.capacities["support"] = 3
    await store.add([row(f"over {number}", expires_at=NOW) for number in range(9)])
    await store.add([row(f"lives {number}") for number in range(9)])

    await bench.sweeper(batch_entries_max=4).sweep()

    assert max(store.batches) == 4
    assert len(prompts(store)) == 3


async def test_others_come_between_two_batches(bench: Bench) -> None:
    store = await bench.open()
    await store.add([row(f"over {number}", expires_at=NOW) for number in range(20)])
    sweeping = asyncio.create_task(bench.sweeper(batch_entries_max=1).sweep())
    seen = []
    while not sweeping.done():
        seen.append(len(store.rows))
        await asyncio.sleep(0)

    assert len(set(seen)) > 15


async def test_a_model_that_no_namespace_uses_is_swept_too(bench: Bench) -> None:
    first, second = await bench.open(), await bench.open(OTHER_MODEL)
    for store in (first, second):
        await store.add([row("over", expires_at=NOW)])

    await bench.sweeper().sweep()

    assert (prompts(first), prompts(second)) == (set(), set())


async def test_a_store_that_fails_does_not_keep_the_others(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    broken, whole = await bench.open(), await bench.open(OTHER_MODEL)
    await whole.add([row("over", expires_at=NOW)])
    broken.failure = StoreUnavailable("away")

    await bench.sweeper().sweep()

    assert prompts(whole) == set()
    assert MODEL.slug in caplog.text
    assert bench.registry.counter("weir.semcache.sweep_failures").value == 1


async def test_a_purge_reaches_every_model_and_says_how_many_went(bench: Bench) -> None:
    first, second = await bench.open(), await bench.open(OTHER_MODEL)
    for store in (first, second):
        await store.add([row(f"mine {number}") for number in range(6)] + [row("theirs", tenant="globex")])

    gone = await bench.sweeper().purge(Selector(tenant="acme"))

    assert gone == (12, True)
    assert prompts(first) == prompts(second) == {"theirs"}


async def test_what_was_added_and_not_published_goes_after_its_time(bench: Bench) -> None:
    store = await bench.open()
    pending = Record(State.PENDING)
    await store.add(
        [row("left", created_at=NOW - 60, record=pending), row("under way", created_at=NOW - 59, record=pending)]
    )
    await store.add([row("served", created_at=NOW - 3600)])

    await bench.sweeper(pending_max=60).sweep()

    assert prompts(store) == {"under way", "served"}
    assert bench.swept() == {"abandoned": 1}


class SlowStore(CountingStore):
    """Compacts when it is let."""

    def __init__(self, identity: ModelIdentity) -> None:
        super().__init__(identity)
        self.may_compact = asyncio.Event()
        self.compactions = 0

    async def compact(self) -> bool:
        self.compactions += 1
        await self.may_compact.wait()
        return await super().compact()


async def slow(bench: Bench) -> SlowStore:
    store = bench.stores._stores[MODEL.slug] = SlowStore(MODEL)
    await store.add([row("over", expires_at=NOW)])
    return store


async def test_files_forget_what_was_removed_too_long_ago(bench: Bench) -> None:
    store, sweeper = await slow(bench), bench.sweeper(forget_after=3600)
    store.may_compact.set()
    counts = []
    for seconds in (0, 3600, 1):
        bench.clock.advance(seconds)
        await sweeper.sweep()
        await asyncio.sleep(0)
        counts.append(store.compactions)
    await sweeper.sweep()

    assert counts == [0, 0, 1]
    assert bench.removed_age() == 0


async def test_sweeping_goes_on_while_files_forget(bench: Bench) -> None:
    store, sweeper = await slow(bench), bench.sweeper(forget_after=1)
    await sweeper.sweep()
    bench.clock.advance(10)
    for prompt in ("more", "and more"):
        await store.add([row(prompt, expires_at=NOW)])
        await sweeper.sweep()
        await asyncio.sleep(0)

    assert (prompts(store), store.compactions, bench.removed_age()) == (set(), 1, 10)
    await sweeper.stop()


async def test_files_that_could_not_forget_are_tried_again(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    class Failing(SlowStore):
        async def compact(self) -> bool:
            self.compactions += 1
            raise StoreUnavailable("no room")

    store = bench.stores._stores[MODEL.slug] = Failing(MODEL)
    await store.add([row("over", expires_at=NOW)])
    sweeper = bench.sweeper(forget_after=1)
    await sweeper.sweep()
    bench.clock.advance(10)
    for _ in range(2):
        await sweeper.sweep()
        await asyncio.sleep(0)

    assert store.compactions == 2
    assert "no room" in caplog.text
    assert bench.registry.counter("weir.semcache.sweep_failures").value == 2


async def test_a_purge_says_when_files_take_longer_than_it_waits(bench: Bench) -> None:
    await slow(bench)

    assert await bench.sweeper(erase_wait=1e-6).purge(Selector(tenant="acme")) == (1, False)


async def test_the_age_of_removed_text_ends_with_its_store(bench: Bench) -> None:
    store, sweeper = await bench.open(), bench.sweeper()
    await store.add([row("over", expires_at=NOW)])
    await sweeper.sweep()
    bench.clock.advance(10)
    before = bench.removed_age()

    await bench.stores.drop(MODEL.slug)
    await sweeper.sweep()

    assert (before, bench.removed_age()) == (10, 0)


async def test_what_a_sweep_leaves_is_told_of_each_namespace_beside_its_capacity(bench: Bench) -> None:
    store = await bench.open()
    bench.capacities["support"] = 3
    await store.add([*(row(f"p{number}") for number in range(5)), row("elsewhere", namespace="sales")])

    await bench.sweeper().sweep()

    told = {(each.name, each.labels["ns"]): each.value for each in bench.registry.samples() if "ns" in each.labels}
    assert told == {
        (ENTRIES, "support"): 3,
        (ENTRIES_MAX, "support"): 3,
        (ENTRIES, "sales"): 1,
        (ENTRIES_MAX, "sales"): 100,
    }


async def test_it_sweeps_again_and_again_until_it_is_stopped(bench: Bench) -> None:
    store = await bench.open()
    sweeper = bench.sweeper(interval=1e-6)
    await sweeper.start()
    for number in range(2):
        await store.add([row(f"over {number}", expires_at=NOW)])
        async with asyncio.timeout(20):
            while store.rows:  # noqa: ASYNC110 - the sweeper sets no event
                await asyncio.sleep(0)
    await sweeper.stop()
    await store.add([row("after", expires_at=NOW)])
    await asyncio.sleep(0)

    assert prompts(store) == {"after"}


async def test_what_never_began_can_be_stopped(bench: Bench) -> None:
    sweeper = bench.sweeper()
    await sweeper.stop()

    assert sweeper._sweeping is None


async def test_a_store_that_gives_nothing_up_is_not_asked_for_ever(bench: Bench) -> None:
    store = await bench.open()
    bench.capacities["support"] = 1
    await store.add([row("one"), row("two")])

    async def keep(namespace: str, limit: int) -> int:
        return len(namespace) * limit * 0

    store.evict = keep  # type: ignore[method-assign]

    await bench.sweeper().sweep()

    assert prompts(store) == {"one", "two"}


async def test_stores_that_cannot_be_listed_are_told_and_swept_later(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    store, models = await bench.open(), bench.stores.models
    await store.add([row("over", expires_at=NOW)])
    failing = [StoreUnavailable("away")]

    async def list_them() -> Mapping[str, ModelIdentity]:
        if failing:
            raise failing.pop()
        return await models()

    bench.stores.models = list_them  # type: ignore[method-assign]
    sweeper = bench.sweeper(interval=1e-6)
    await sweeper.start()
    async with asyncio.timeout(20):
        while store.rows:  # noqa: ASYNC110 - the sweeper sets no event
            await asyncio.sleep(0)
    await sweeper.stop()

    assert "sweeping: away" in caplog.text
    assert bench.registry.counter("weir.semcache.sweep_failures").value == 1


async def test_where_nothing_was_ever_stored_a_purge_has_nothing_to_wait_for(bench: Bench) -> None:
    assert await bench.sweeper().purge(Selector()) == (0, True)
