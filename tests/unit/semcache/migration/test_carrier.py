from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from semcache.entry import EntryId, Record, State
from semcache.errors import EmbedUnavailable, StoreUnavailable
from semcache.migration.carrier import Carrier, Side
from semcache.migration.view import PairedStore
from semcache.settings import MigrationSettings
from semcache.store import Page, Selector
from tests.fakes.entries import NOW, entry
from tests.fakes.migrations import NAMESPACE, model, prompts_of, rows
from tests.fakes.store import FakeStore

MANY = [f"prompt {number}" for number in range(23)]


class Pair:
    """Two stores, a carrier between them, and a view of each."""

    def __init__(self, first: str | None = None, **settings: Any) -> None:
        self.old_model, self.new_model = model("old"), model("new")
        self.old, self.new = WatchedStore(self.old_model.identity), WatchedStore(self.new_model.identity)
        self.carrier = Carrier(
            NAMESPACE,
            Side(self.old_model, self.old),
            Side(self.new_model, self.new),
            MigrationSettings(**{"batch_entries_max": 4, **settings}),
            first,
        )
        self.old_view = PairedStore(self.old, self.new, self.carrier, is_target=False)
        self.new_view = PairedStore(self.new, self.old, self.carrier, is_target=True)

    async def carry(self) -> None:
        while not self.carrier.is_done:
            await self.carrier.step()


class WatchedStore(FakeStore):
    """Calls `before_add` with itself before entries are added."""

    before_add: Callable[[], Any] | None = None

    async def add(self, entries: Any) -> None:
        hook, self.before_add = self.before_add, None
        if hook is not None:
            await hook()
        await super().add(entries)


@pytest.fixture
async def pair() -> Pair:
    pair = Pair()
    await pair.old.add(await rows(pair.old_model, MANY))
    return pair


@pytest.mark.parametrize(
    "first", [None, "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"]
)
async def test_everything_is_carried_wherever_it_begins(first: str | None) -> None:
    pair = Pair(first)
    await pair.old.add(await rows(pair.old_model, MANY))

    await pair.carry()

    assert await prompts_of(pair.new) == set(MANY)
    assert (pair.carrier.read, pair.carrier.embedded) == (23, 23)


async def test_what_is_carried_is_the_same_but_for_its_vector(pair: Pair) -> None:
    stored = entry("quarantined", tags=("doc:1",), epoch=7, record=Record(State.QUARANTINED, 3, 2, 1, NOW))
    (row,) = await rows(pair.old_model, ["quarantined"])
    await pair.old.add([replace(row, entry=stored)])

    await pair.carry()

    assert pair.new.rows[stored.id].entry == stored


async def test_another_namespace_is_not_carried(pair: Pair) -> None:
    await pair.old.add(await rows(pair.old_model, ["elsewhere"], namespace="sales"))

    await pair.carry()

    assert "elsewhere" not in await prompts_of(pair.new)


async def test_what_was_carried_is_not_embedded_again(pair: Pair) -> None:
    await pair.carrier.step()
    await pair.carrier.step()
    again = Carrier(NAMESPACE, Side(pair.old_model, pair.old), Side(pair.new_model, pair.new), MigrationSettings())

    while not again.is_done:
        await again.step()

    assert await prompts_of(pair.new) == set(MANY)
    assert pair.carrier.embedded + again.embedded == 23


async def test_what_is_used_goes_first(pair: Pair) -> None:
    await pair.old_view.amend({entry("prompt 17").id: Record(hits=1, used_at=NOW)})

    await pair.carrier.step()

    assert await prompts_of(pair.new) == {"prompt 17"}
    assert pair.new.rows[entry("prompt 17").id].entry.record.hits == 1


async def test_what_is_stored_meanwhile_is_carried(pair: Pair) -> None:
    await pair.carry()
    await pair.old_view.add(await rows(pair.old_model, ["late"]))
    assert not pair.carrier.is_done

    await pair.carry()

    assert "late" in await prompts_of(pair.new)


@pytest.mark.parametrize("is_read", [True, False])
async def test_more_noted_than_may_be_means_another_round(is_read: bool) -> None:  # noqa: FBT001
    pair = Pair(noted_max=2)
    if is_read:
        await pair.carry()
    await pair.old_view.add(await rows(pair.old_model, MANY))

    await pair.carry()

    assert await prompts_of(pair.new) == set(MANY)


async def test_what_is_removed_while_it_is_carried_does_not_come_back(pair: Pair) -> None:
    async def remove() -> None:
        await pair.old_view.remove(Selector(namespace=NAMESPACE), 1000)

    pair.new.before_add = remove

    await pair.carry()

    assert (await prompts_of(pair.old), await prompts_of(pair.new)) == (set(), set())


async def test_a_quarantine_while_it_is_carried_is_not_lost(pair: Pair) -> None:
    record = Record(State.QUARANTINED, wrong=1, used_at=NOW)
    ids = [entry(prompt).id for prompt in MANY]

    async def quarantine() -> None:
        await pair.old_view.amend(dict.fromkeys(ids, record))

    pair.new.before_add = quarantine

    await pair.carry()

    assert [each.entry.record for each in pair.new.rows.values()] == [record] * 23


async def test_an_answer_that_is_younger_at_the_goal_stays(pair: Pair) -> None:
    await pair.new.add(await rows(pair.new_model, ["prompt 3"], created_at=NOW + 5))

    await pair.carry()

    assert pair.new.rows[entry("prompt 3").id].entry.created_at == NOW + 5


async def test_reconciling_finds_what_was_changed_by_who_knew_one_store_only(pair: Pair) -> None:
    await pair.carry()
    await pair.old.remove(Selector(ids=(entry("prompt 3").id, entry("prompt 20").id)), 10)
    quarantined = Record(State.QUARANTINED, wrong=1)
    await pair.old.amend({entry("prompt 5").id: quarantined})

    await pair.carrier.reconcile()
    await pair.carry()

    assert await prompts_of(pair.new) == await prompts_of(pair.old)
    assert pair.new.rows[entry("prompt 5").id].entry.record == quarantined


@pytest.mark.parametrize("broken", ["old", "new", "model"])
async def test_a_failure_loses_nothing_that_was_noted(pair: Pair, broken: str) -> None:
    pair.carrier.note(pair.old, [entry("prompt 3").id])
    match broken:
        case "model":
            pair.new_model.failure = EmbedUnavailable("busy")
        case _:
            getattr(pair, broken).failure = StoreUnavailable("away")
    with pytest.raises((EmbedUnavailable, StoreUnavailable)):
        await pair.carrier.step()
    pair.new_model.failure = pair.old.failure = pair.new.failure = None

    await pair.carrier.step()

    assert await prompts_of(pair.new) == {"prompt 3"}


async def test_the_new_models_view_finds_exact_answers_of_the_old_one(pair: Pair) -> None:
    found = await pair.new_view.get([entry("prompt 3").id, entry("nowhere").id], NOW)

    assert found == [entry("prompt 3"), None]


async def test_the_old_ones_answer_does_not_get_around_a_quarantine(pair: Pair) -> None:
    await pair.new.add(await rows(pair.new_model, ["prompt 3"], record=Record(State.QUARANTINED)))

    assert await pair.new_view.get([entry("prompt 3").id], NOW) == [None]


async def test_a_model_that_cannot_be_loaded_is_read_and_not_filled() -> None:
    pair = Pair()
    pair.carrier = Carrier(NAMESPACE, Side(None, pair.old), Side(pair.new_model, pair.new), MigrationSettings())
    view = PairedStore(pair.new, pair.old, pair.carrier, is_target=True)
    await pair.old.add(await rows(pair.old_model, ["before"]))
    await view.add(await rows(pair.new_model, ["after"]))

    await pair.carry()

    assert (await prompts_of(pair.old), await prompts_of(pair.new)) == ({"before"}, {"before", "after"})


async def test_changes_reach_both_stores(pair: Pair) -> None:
    await pair.carry()

    removed = await pair.new_view.remove(Selector(ids=(entry("prompt 3").id,)), 10)
    await pair.new_view.amend({entry("prompt 4").id: Record(hits=9)})

    assert removed == 1
    assert await prompts_of(pair.old) == await prompts_of(pair.new) == set(MANY) - {"prompt 3"}
    assert pair.old.rows[entry("prompt 4").id].entry.record.hits == 9


async def test_while_it_is_filled_a_change_that_one_store_did_not_get_fails(pair: Pair) -> None:
    pair.new.failure = StoreUnavailable("away")

    with pytest.raises(StoreUnavailable):
        await pair.old_view.remove(Selector(namespace=NAMESPACE), 10)


async def test_a_spare_that_fails_is_given_up(pair: Pair) -> None:
    await pair.carry()
    pair.carrier.is_source_spare = True
    pair.old.failure = StoreUnavailable("dropped")

    removed = await pair.new_view.remove(Selector(ids=(entry("prompt 3").id,)), 10)
    await pair.new_view.add(await rows(pair.new_model, ["late"]))

    assert (removed, pair.carrier.is_source_lost, pair.carrier.is_done) == (1, True, True)


async def test_a_view_reads_its_own_store() -> None:
    # From the first entry on: begun behind the last one, the first step carries none.
    pair = Pair("00000000-0000-0000-0000-000000000000")
    await pair.old.add(await rows(pair.old_model, MANY))
    await pair.carrier.step()
    ids: set[EntryId] = set(pair.new.rows)

    assert pair.new_view.identity == pair.new_model.identity
    assert pair.new_view.is_healthy
    assert await pair.new_view.count(Selector()) == len(ids) < await pair.old_view.count(Selector())
    assert await prompts_of(pair.new_view) == await prompts_of(pair.new)
    assert await pair.new_view.evict(NAMESPACE, 1) == 1
    await pair.new_view.compact()


async def test_a_store_that_gives_fewer_entries_than_were_asked_for_is_asked_again(pair: Pair) -> None:
    for store in (pair.old, pair.new):
        scan = store.scan
        store.scan = lambda selector, limit, start=None, scan=scan: scan(selector, min(limit, 3), start)  # type: ignore[method-assign, misc]

    await pair.old_view.add(await rows(pair.old_model, MANY[:10]))
    await pair.carry()

    assert {each.entry.prompt for each in pair.new.rows.values()} == set(MANY)


async def test_what_neither_store_has_is_not_looked_for_in_quarantine(pair: Pair) -> None:
    scans: list[Selector] = []
    scan = pair.new.scan

    async def noted(selector: Selector, limit: int, start: EntryId | None = None) -> Page:
        scans.append(selector)
        return await scan(selector, limit, start)

    pair.new.scan = noted  # type: ignore[method-assign]
    nobody = entry("never stored").id

    assert await pair.new_view.get([nobody], NOW) == [None]
    assert scans == []


async def test_a_spare_that_was_given_up_is_asked_no_more(pair: Pair) -> None:
    await pair.carry()
    pair.carrier.is_source_spare = pair.carrier.is_source_lost = True

    await pair.new_view.remove(Selector(ids=(entry("prompt 3").id,)), 10)

    assert await prompts_of(pair.new) == set(MANY) - {"prompt 3"}
    assert await prompts_of(pair.old) == set(MANY)


async def test_text_is_in_files_since_it_is_in_those_of_either_store(pair: Pair) -> None:
    view = pair.new_view
    nothing = await view.removed_at()
    pair.new.removed = 20.0
    one = await view.removed_at()
    pair.old.removed = 10.0

    assert (nothing, one, await view.removed_at()) == (None, 20.0, 10.0)
