from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from semcache.backends import Phase
from semcache.embedder import Embedder
from semcache.errors import StoreRefused, StoreUnavailable
from semcache.migration.lineage import Lineage
from semcache.settings import MigrationSettings
from semcache.store import Selector
from serving.metrics import Registry
from tests.fakes.clock import FakeClock
from tests.fakes.embedder import FakeEmbedder
from tests.fakes.entries import NOW, entry
from tests.fakes.migrations import NAMESPACE, model, prompts_of, rows
from tests.fakes.store import FakeStores

PROMPTS = [f"prompt {number}" for number in range(20)]


class House:
    """Replicas over one set of stores."""

    def __init__(self) -> None:
        self.stores, self.clock, self.registry = FakeStores(), FakeClock(NOW), Registry()
        self.old, self.new = model("old"), model("new")
        self.lost: set[str] = set()
        self.lineages: list[Lineage] = []

    async def find(self, slug: str) -> Embedder | None:
        known = {each.identity.slug: each for each in (self.old, self.new)}
        return None if slug in self.lost else known.get(slug)

    async def open(self, embedder: FakeEmbedder, **settings: Any) -> Lineage:
        values = {"batch_entries_max": 4, "entries_per_second": 1e9, "retry_interval": 1e-6, **settings}
        lineage = Lineage(NAMESPACE, self.stores, self.find, MigrationSettings(**values), self.clock, self.registry)
        self.lineages.append(lineage)
        await lineage.start(embedder)
        return lineage

    async def alias(self) -> str | None:
        return (await self.stores.aliases()).get(NAMESPACE)

    async def with_old_entries(self) -> None:
        lineage = await self.open(self.old)
        await lineage.answering.store.add(await rows(self.old, PROMPTS))


@pytest.fixture
async def house() -> Any:
    house = House()
    yield house
    for lineage in house.lineages:
        await lineage.stop()


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not is_so():  # noqa: ASYNC110 - a state, of which nobody tells
            await asyncio.sleep(0)


async def test_the_first_model_answers_at_once(house: House) -> None:
    lineage = await house.open(house.old)

    assert await house.alias() == house.old.identity.slug
    assert lineage.answering.embedder is house.old
    assert lineage.progress.phase is Phase.SETTLED


async def test_the_same_model_again_changes_nothing(house: House) -> None:
    await house.with_old_entries()

    lineage = await house.open(house.old)

    assert lineage.progress.phase is Phase.SETTLED
    assert await prompts_of(lineage.answering.store) == set(PROMPTS)


async def test_the_old_model_answers_until_the_new_one_has_everything(house: House) -> None:
    await house.with_old_entries()
    house.new.failure = StoreUnavailable("not yet")  # type: ignore[assignment] # holds the carrying back
    lineage = await house.open(house.new)
    await until(lambda: house.registry.counter("weir.semcache.migration.failures", namespace=NAMESPACE).value)
    before = (lineage.answering.embedder, await house.alias())

    house.new.failure = None
    await until(lambda: lineage.progress.phase is Phase.MOVED)

    assert before == (house.old, house.old.identity.slug)
    assert (lineage.answering.embedder, await house.alias()) == (house.new, house.new.identity.slug)
    assert await prompts_of(lineage.answering.store) == set(PROMPTS)


async def test_progress_says_how_much_is_left(house: House) -> None:
    await house.with_old_entries()
    lineage = await house.open(house.new)
    gauges = lambda: {sample.name: sample.value for sample in house.registry.samples()}  # noqa: E731
    before = gauges()["weir.semcache.migration.left"]

    await until(lambda: lineage.progress.phase is Phase.MOVED)

    assert (before, gauges()["weir.semcache.migration.left"]) == (20, 0)
    assert (lineage.progress.read, lineage.progress.embedded, lineage.progress.total) == (20, 20, 20)


async def test_embedding_goes_no_faster_than_it_may(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await house.with_old_entries()
    pauses: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await real(0)

    monkeypatch.setattr("semcache.migration.lineage.asyncio.sleep", sleep)
    lineage = await house.open(house.new, entries_per_second=40)

    await until(lambda: lineage.progress.phase is Phase.MOVED)

    assert sum(pauses) >= 20 / 40


async def test_a_crash_in_the_middle_goes_on_where_it_was(house: House) -> None:
    await house.with_old_entries()
    first = await house.open(house.new)
    await until(lambda: first.progress.embedded >= 8)
    await first.stop()

    second = await house.open(house.new)
    await until(lambda: second.progress.phase is Phase.MOVED)

    assert second.progress.embedded == 20 - first.progress.embedded
    assert await prompts_of(second.answering.store) == set(PROMPTS)


async def test_a_roll_back_answers_with_all_that_was_stored_since(house: House) -> None:
    await house.with_old_entries()
    lineage = await house.open(house.new)
    await until(lambda: lineage.progress.phase is Phase.MOVED)
    await lineage.answering.store.add(await rows(house.new, ["since"]))
    await lineage.answering.store.remove(Selector(ids=(entry("prompt 3").id,)), 1)

    await lineage.roll_back()
    change = lineage._change
    assert change is not None
    await until(lambda: change.carrier.is_done)

    assert (lineage.answering.embedder, await house.alias()) == (house.old, house.old.identity.slug)
    assert await prompts_of(lineage.answering.store) == {*PROMPTS, "since"} - {"prompt 3"}
    assert lineage.progress.phase is Phase.ROLLED_BACK


async def test_while_the_old_model_answers_there_is_nothing_to_go_back_to(house: House) -> None:
    await house.with_old_entries()
    house.new.failure = StoreUnavailable("not yet")  # type: ignore[assignment] # holds the filling
    lineage = await house.open(house.new)

    with pytest.raises(StoreRefused, match="still answers"):
        await lineage.roll_back()

    assert (lineage.progress.phase, lineage.progress.old) == (Phase.FILLING, house.old.identity.slug)
    house.new.failure = None


async def test_there_must_be_something_to_go_back_to(house: House) -> None:
    lineage = await house.open(house.old)

    with pytest.raises(StoreRefused):
        await lineage.roll_back()


async def test_the_old_model_is_dropped_after_it_was_kept(house: House) -> None:
    await house.with_old_entries()
    lineage = await house.open(house.new, keep=60.0)
    await until(lambda: lineage.progress.phase is Phase.MOVED)
    kept = set(await house.stores.models())

    house.clock.advance(60)
    await until(lambda: lineage.progress.phase is Phase.SETTLED)
    await lineage.stop()

    assert kept == {house.old.identity.slug, house.new.identity.slug}
    assert set(await house.stores.models()) == {house.new.identity.slug}
    with pytest.raises(StoreRefused):
        await lineage.roll_back()


async def test_a_model_that_another_namespace_has_is_not_dropped(house: House) -> None:
    await house.with_old_entries()
    await house.stores.serve("sales", house.old.identity.slug)
    lineage = await house.open(house.new, keep=0.0)

    await until(lambda: lineage.progress.phase is Phase.SETTLED)

    assert house.old.identity.slug in await house.stores.models()


async def test_an_old_model_that_cannot_be_loaded_does_not_lead(house: House) -> None:
    await house.with_old_entries()
    house.lost = {house.old.identity.slug}
    house.new.failure = StoreUnavailable("not yet")  # type: ignore[assignment] # holds the carrying back

    lineage = await house.open(house.new)

    assert lineage.answering.embedder is house.new
    assert await lineage.answering.store.get([entry("prompt 3").id], NOW) == [entry("prompt 3")]
    house.new.failure = None
    await until(lambda: lineage.progress.phase is Phase.MOVED)
    assert await prompts_of(lineage.answering.store) == set(PROMPTS)


async def test_replicas_move_together(house: House) -> None:
    await house.with_old_entries()
    replicas = [await house.open(house.new) for _ in range(3)]

    await until(lambda: all(each.progress.phase is Phase.MOVED for each in replicas))

    assert [each.answering.embedder for each in replicas] == [house.new] * 3
    assert sum(each.progress.embedded for each in replicas) <= 20 + 3 * 4
    await replicas[0].roll_back()
    await until(lambda: all(each.progress.phase is Phase.ROLLED_BACK for each in replicas))
    assert [each.answering.embedder for each in replicas] == [house.old] * 3


async def test_a_replica_with_the_old_configuration_does_not_move_it_back(house: House) -> None:
    await house.with_old_entries()
    behind, ahead = await house.open(house.old), await house.open(house.new)

    await until(lambda: ahead.progress.phase is Phase.MOVED)

    assert behind.answering.embedder is house.old
    assert await house.alias() == house.new.identity.slug


async def test_going_back_by_configuration_is_a_change_like_any_other(house: House) -> None:
    await house.with_old_entries()
    lineage = await house.open(house.new)
    await until(lambda: lineage.progress.phase is Phase.MOVED)

    await lineage.start(house.old)
    await until(lambda: lineage.progress.phase is Phase.MOVED)

    assert (lineage.answering.embedder, lineage.progress.embedded) == (house.old, 0)
    assert await house.alias() == house.old.identity.slug


async def test_an_alias_that_was_read_before_a_roll_back_does_not_undo_it(house: House) -> None:
    await house.with_old_entries()
    lineage = await house.open(house.new)
    await until(lambda: lineage.progress.phase is Phase.MOVED)
    aliases, read = house.stores.aliases, asyncio.Event()

    async def read_before() -> Any:
        early = await aliases()
        house.stores.aliases = aliases  # type: ignore[method-assign] # once
        await lineage.roll_back()
        read.set()
        return early

    house.stores.aliases = read_before  # type: ignore[method-assign]
    await read.wait()
    change = lineage._change
    assert change is not None
    await until(lambda: change.carrier.is_done)

    assert (lineage.progress.phase, await house.alias()) == (Phase.ROLLED_BACK, house.old.identity.slug)
