from __future__ import annotations

import pytest

from semcache.answers import Outcome
from semcache.backends import Phase, Progress
from semcache.curating import Forgotten
from semcache.embedder import ModelIdentity
from semcache.entry import Record, State
from semcache.errors import StoreRefused, StoreUnavailable
from semcache.store import Selector
from semcache.tickets import read_ticket
from tests.fakes.caches import World, make_world, namespace
from tests.fakes.entries import NOW, entry

PASSWORD = "how do I reset my password"
NEAR = "how do I reset my own password"


async def judged(world: World, *, is_right: bool) -> tuple[bool, bool]:
    hit = await world.lookup(NEAR)
    assert hit.entry_id is not None
    ticket = read_ticket(hit.lookup_id)
    found = await world.cache.judge(world.namespace, hit.entry_id, ticket, is_right=is_right)
    return found.is_quarantined, found.is_learned


async def test_a_wrong_answer_goes_into_quarantine_and_is_learned_from() -> None:
    world = await make_world()
    await world.store_one(PASSWORD)

    assert await judged(world, is_right=False) == (True, True)

    (row,) = world.store.rows.values()
    assert (row.entry.record.state, row.entry.record.wrong) == (State.QUARANTINED, 1)
    assert world.cache.tally(world.namespace).wrong == 1


async def test_a_right_answer_is_worth_more() -> None:
    world = await make_world()
    await world.store_one(PASSWORD)
    before = next(iter(world.store.rows.values())).entry.record.worth

    assert await judged(world, is_right=True) == (False, True)

    (row,) = world.store.rows.values()
    assert row.entry.record.right == 1
    assert row.entry.record.worth > before


async def test_a_judgement_of_what_is_not_there_changes_nothing() -> None:
    world = await make_world()

    found = await world.cache.judge(world.namespace, entry("gone").id, None, is_right=False)

    assert (found.is_quarantined, found.is_learned) == (False, False)


async def test_a_judgement_reaches_no_other_namespace() -> None:
    world = await make_world()
    kept = await world.store_one(PASSWORD)
    assert kept.entry_id is not None

    await world.cache.judge(namespace(name="sales"), kept.entry_id, None, is_right=False)

    assert (await world.lookup(PASSWORD)).outcome is Outcome.EXACT


async def test_uses_that_are_written_late_do_not_undo_a_judgement() -> None:
    world = await make_world()
    await world.store_one(PASSWORD)
    await world.lookup(PASSWORD)
    await judged(world, is_right=False)

    await world.cache.upkeep.flush()

    (row,) = world.store.rows.values()
    assert row.entry.record.state is State.QUARANTINED


async def test_entries_of_every_model_are_forgotten() -> None:
    world = await make_world()
    await world.store_one(PASSWORD)
    other = await world.stores.open(ModelIdentity("test/other", "r", "fp32", 64))
    rows = (await world.store.scan(Selector(), 10)).entries
    await other.add(rows)

    forgotten = await world.cache.curating.invalidate(
        world.namespace, Selector(namespace="support", tenant="acme"), NOW
    )

    assert forgotten == Forgotten(2, is_erased=True)
    assert (await other.count(Selector()), await world.store.count(Selector())) == (0, 0)


async def test_what_is_not_of_a_tenant_is_erased_where_that_is_asked_for() -> None:
    world = await make_world()
    curating, mine = world.cache.curating, Selector(namespace="support", tag="t")
    await world.store_one(PASSWORD, tags=("t",))
    forgotten = await curating.invalidate(world.namespace, mine, NOW)
    still = await world.store.removed_at()
    erased = await curating.invalidate(world.namespace, mine, NOW, must_erase=True)

    assert (forgotten, still) == (Forgotten(1), NOW)
    # What was removed before is erased as well.
    assert (erased, await world.store.removed_at()) == (Forgotten(0, is_erased=True), None)


async def test_an_emptied_namespace_is_erased_where_that_is_asked_for() -> None:
    world = await make_world()
    await world.store_one(PASSWORD)

    emptied = await world.cache.curating.empty(world.namespace, NOW, is_dry_run=False, must_erase=True)

    assert (emptied.entries, emptied.is_erased) == (1, True)
    assert await world.store.count(Selector()) == 0


async def test_a_dry_run_only_counts() -> None:
    world = await make_world()
    await world.store_one(PASSWORD)
    curating = world.cache.curating

    counted = await curating.count(Selector(namespace="support"))
    emptied = await curating.empty(world.namespace, NOW, is_dry_run=True)

    assert (counted, emptied) == (1, Forgotten(1))
    assert (await world.lookup(PASSWORD)).outcome is Outcome.EXACT


async def test_a_description_counts_and_bounds() -> None:
    world = await make_world()
    await world.store_one(PASSWORD)
    await judged(world, is_right=True)
    await world.lookup("what is a weir and what is it for")

    state = await world.cache.curating.describe(world.namespace, world.cache.tally(world.namespace))

    assert (state.entries, state.epoch, state.hit_rate.value, state.error_rate.value) == (1, 0, 0.5, 0.0)
    assert (state.standing.labels, state.standing.shadow) == (1, None)
    assert state.model == world.embedder.identity.slug


async def test_a_threshold_stands_by_the_labels_above_it() -> None:
    world = await make_world()
    world.namespace = namespace(target_error=None, threshold=0.9)
    await world.store_one(PASSWORD)
    await judged(world, is_right=False)

    state = await world.cache.curating.describe(world.namespace, world.cache.tally(world.namespace))

    assert (state.standing.setting.labels, state.standing.setting.wrong) == (1, 1)
    assert not state.standing.setting.threshold.is_closed


async def test_without_its_model_a_namespace_cannot_be_described() -> None:
    world = await make_world()
    world.backends.backend = None

    with pytest.raises(StoreUnavailable, match="not loaded"):
        await world.cache.curating.describe(world.namespace, world.cache.tally(world.namespace))


async def test_uses_that_cannot_be_written_are_counted_as_lost(caplog: pytest.LogCaptureFixture) -> None:
    world = await make_world()
    await world.store_one(PASSWORD)
    await world.lookup(PASSWORD)
    world.store.failure = StoreUnavailable("away")

    await world.cache.upkeep.flush()

    assert world.value("uses.dropped") == 1
    assert "uses of 1 entries were not written down: away" in caplog.text


async def test_uses_that_wait_are_bounded() -> None:
    world = await make_world(uses_waiting_max=1)
    await world.store_one(PASSWORD)
    await world.store_one("what is a weir and what is it for")
    for prompt in (PASSWORD, "what is a weir and what is it for", PASSWORD):
        await world.lookup(prompt)

    await world.cache.upkeep.flush()

    assert world.value("uses.dropped") == 1
    assert sorted(row.entry.record.hits for row in world.store.rows.values()) == [0, 2]


async def test_uses_are_written_from_time_to_time_and_at_the_end() -> None:
    world = await make_world(uses_interval=0.01)
    await world.cache.start()
    await world.store_one(PASSWORD)
    await world.lookup(PASSWORD)
    (one,) = world.store.rows
    while not world.store.rows[one].entry.record.hits:
        await world.cache.upkeep.flush()

    await world.lookup(PASSWORD)
    await world.cache.stop()

    assert world.store.rows[one].entry.record == Record(hits=2, used_at=world.clock.wall())


async def test_a_roll_back_names_what_answers_again_and_needs_something_to_go_back_to() -> None:
    world = await make_world()
    with pytest.raises(StoreRefused, match="no other model"):
        await world.cache.curating.roll_back(world.namespace)
    world.backends.change = Progress(Phase.MOVED, "old", "new", 3, 2, 3)

    assert await world.cache.curating.roll_back(world.namespace) == "old"
