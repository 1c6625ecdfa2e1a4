from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semcache.answers import Answer, Outcome, Reason, Turn
from semcache.entry import EntryId, ScopeId
from semcache.errors import LeaseError
from semcache.fills import Fills, Wish, read_note
from semcache.invalidation import Moment
from semcache.leases.memory import MemoryLeases
from semcache.prompt import normalise
from semcache.scope import Scope
from semcache.settings import LeaseSettings
from serving.metrics import Registry
from tests.fakes.caches import World, make_world, namespace
from tests.fakes.clock import FakeClock

PASSWORD = "how do I reset my password"
NEAR = "how do I reset my own password"
WISH = {"wants_lease": True, "fill_wait_seconds": 30.0}


def wish(prompt: str, history: str) -> Wish:
    return Wish(ScopeId("s"), EntryId("e"), Moment(), prompt, history, np.array([1.0, 0.0], np.float32))


@given(st.text(), st.text())
def test_a_note_says_prompt_history_and_similarity(prompt: str, history: str) -> None:
    other = read_note(wish(prompt, history).note(), np.array([0.6, 0.8], np.float32))

    assert other is not None
    assert (other.prompt, other.history, round(other.similarity, 6)) == (prompt, history, 0.6)


@given(st.binary(max_size=64))
def test_a_note_that_is_none_is_nobodys(note: bytes) -> None:
    other = read_note(note, np.zeros(8, np.float32))

    assert other is None or isinstance(other.prompt, str)


def test_a_note_of_another_model_is_nobodys() -> None:
    assert read_note(wish("a", "b").note(), np.zeros(3, np.float32)) is None


async def one(world: World, prompt: str, **fields: Any) -> Answer | asyncio.Future[Answer]:
    (answer,) = await world.cache.lookup([world.ask(prompt, **{**WISH, **fields})])
    return answer


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def first_and_second(world: World, second_prompt: str) -> tuple[Answer, asyncio.Future[Answer]]:
    first, second = await one(world, PASSWORD), await one(world, second_prompt)
    assert isinstance(first, Answer)
    assert isinstance(second, asyncio.Future)
    await turns()
    assert not second.done()
    return first, second


@pytest.mark.parametrize(("prompt", "outcome"), [(PASSWORD, Outcome.EXACT), (NEAR, Outcome.SEMANTIC)])
async def test_who_comes_later_waits_and_gets_the_answer(prompt: str, outcome: Outcome) -> None:
    world = await make_world()
    first, second = await first_and_second(world, prompt)
    assert first.lease is not None

    await world.store_one(PASSWORD, lease_id=first.lease.id)

    assert (await second).outcome is outcome


async def test_who_asks_something_else_does_not_wait() -> None:
    world = await make_world()
    await one(world, PASSWORD)

    other = await one(world, "what is a weir and what is it for")

    assert isinstance(other, Answer)
    assert other.lease is not None


async def test_another_number_is_something_else() -> None:
    world = await make_world()
    await one(world, "what is the tax on 100 euros in France")

    other = await one(world, "what is the tax on 200 euros in France")

    assert isinstance(other, Answer)
    assert other.lease is not None


async def test_what_was_not_read_whole_waits_for_the_same_words_only() -> None:
    world = await make_world()
    await one(world, "what does \U0001f44d mean in a chat")

    other = await one(world, "what does \U0001f44e mean in a chat")
    same = await one(world, "what does \U0001f44d mean in a chat")

    assert isinstance(other, Answer)
    assert other.lease is not None
    assert isinstance(same, asyncio.Future)
    same.cancel()


async def test_another_scope_does_not_wait() -> None:
    world = await make_world()
    await one(world, PASSWORD)

    other = await one(world, PASSWORD, scope=Scope("support", tenant="globex"))

    assert isinstance(other, Answer)
    assert other.lease is not None


async def test_a_lease_that_is_given_back_goes_to_one_who_waits() -> None:
    world = await make_world()
    first, second = await first_and_second(world, PASSWORD)
    third = await one(world, PASSWORD)
    assert isinstance(third, asyncio.Future)
    assert first.lease is not None

    await world.cache.release(first.lease.id)
    await turns()

    done = [each for each in (second, third) if each.done()]
    assert len(done) == 1
    assert done[0].result().lease is not None
    await world.store_one(PASSWORD, lease_id=done[0].result().lease.id)  # type: ignore[union-attr] # as asserted
    outcomes = {(await second).outcome, (await third).outcome}
    assert outcomes == {Outcome.MISS, Outcome.EXACT}


async def test_who_does_not_want_to_wait_is_told_who_fetches() -> None:
    world = await make_world()
    await one(world, PASSWORD)

    answer = await world.lookup(PASSWORD, wants_lease=True)

    assert (answer.outcome, answer.reason, answer.lease) == (Outcome.MISS, Reason.FILLING, None)


async def test_a_wait_is_bounded_by_the_namespace() -> None:
    world = await make_world()
    world.namespace = namespace(fill_wait_max=0.02)
    await one(world, PASSWORD)
    later = await one(world, PASSWORD, fill_wait_seconds=1_000.0)
    assert isinstance(later, asyncio.Future)
    await turns()

    world.clock.advance(0.02)

    assert (await later).reason is Reason.FILLING


async def test_waiting_lookups_are_bounded() -> None:
    world = await make_world(waiting_max=0)
    await one(world, PASSWORD)

    answer = await one(world, PASSWORD)

    assert isinstance(answer, Answer)
    assert answer.reason is Reason.FILLING


async def test_who_gives_up_leaves_no_lease_behind() -> None:
    world = await make_world()
    first, second = await first_and_second(world, PASSWORD)
    second.cancel()
    await turns()
    assert world.value("lookups.waiting") == 0
    assert first.lease is not None

    await world.cache.release(first.lease.id)
    again = await one(world, PASSWORD)

    assert isinstance(again, Answer)
    assert again.lease is not None


async def test_who_is_answered_already_takes_no_lease() -> None:
    world = await make_world()
    gate = asyncio.Event()
    nearest = world.store.nearest

    async def slow(*arguments: Any) -> Any:
        await gate.wait()
        return await nearest(*arguments)

    world.store.nearest = slow  # type: ignore[method-assign]
    now = world.clock.steady()
    asks = [
        world.ask(PASSWORD, **WISH, deadline=now + 0.5),
        world.ask("what is a weir and what is it for", **WISH, deadline=now + 60),
    ]
    hurried, patient = await world.cache.lookup(asks)
    gate.set()
    await patient  # type: ignore[misc] # the one with more time
    await turns()

    world.store.nearest = nearest  # type: ignore[method-assign]
    again = await one(world, PASSWORD)

    assert isinstance(hurried, Answer)
    assert hurried.lease is None
    assert isinstance(again, Answer)
    assert again.lease is not None


async def test_without_leases_each_fetches_for_himself() -> None:
    world = await make_world()

    async def away(*_: object) -> Any:
        raise LeaseError("away")

    world.cache._fills._leases.take = away  # type: ignore[method-assign]

    answers = [await one(world, PASSWORD) for _ in range(2)]

    assert [(each.outcome, each.lease) for each in answers if isinstance(each, Answer)] == [(Outcome.MISS, None)] * 2
    assert world.value("leases.failed") == 2


async def test_an_explored_hit_is_fetched_once_and_who_waited_is_served() -> None:
    world = await make_world()
    await world.store_one(PASSWORD)
    world.namespace = namespace(explore=0.5)
    answers: list[Any] = []
    while not any(isinstance(each, Answer) and each.lease for each in answers):
        answers.append(await one(world, NEAR))

    explored = answers[-1]

    assert explored.reason is Reason.EXPLORED
    assert explored.entry_id is not None


async def test_a_wish_for_the_same_prompt_alone_says_nothing_and_is_near_nobody() -> None:
    fills = Fills(MemoryLeases(LeaseSettings(), FakeClock()), Registry())
    exact = replace(wish("a", ""), embedding=None)
    await fills.take(wish("a", ""), lambda _: True, ttl_seconds=10.0, waits=True)

    lease_id, awaited = await fills.take(
        replace(exact, entry=EntryId("other")), lambda _: True, ttl_seconds=10.0, waits=True
    )

    assert (exact.note(), bool(lease_id), awaited) == (b"", True, None)


async def test_leases_that_are_away_end_every_wait_and_are_counted() -> None:
    world = await make_world()
    first, second = await first_and_second(world, PASSWORD)
    assert first.lease is not None

    async def away(*_: object) -> Any:
        raise LeaseError("away")

    leases = world.cache._fills._leases
    leases.wait = leases.release = away  # type: ignore[method-assign]
    third = await one(world, PASSWORD)
    assert isinstance(third, asyncio.Future)

    assert (await third).reason is Reason.FILLING
    assert not await world.cache.release(first.lease.id)
    assert world.value("leases.failed") == 2
    second.cancel()


async def test_what_is_no_lease_cannot_be_given_back() -> None:
    world = await make_world()

    assert not await world.cache.release("none of ours")
    assert world.value("leases.failed") == 0


def test_a_note_that_is_no_text_is_nobodys() -> None:
    note = wish("ab", "c").note()
    damaged = note.replace(b"ab", b"\xff\xff")

    assert len(damaged) == len(note)
    assert read_note(damaged, np.array([0.6, 0.8], np.float32)) is None


async def test_who_hears_of_his_lease_when_he_is_answered_already_gives_it_back() -> None:
    world = await make_world()
    leases, asked, told = world.cache._fills._leases, asyncio.Event(), asyncio.Event()
    take = leases.take

    async def slow(*arguments: Any) -> Any:
        asked.set()
        await told.wait()
        return await take(*arguments)

    leases.take = slow  # type: ignore[method-assign]
    hurried = asyncio.create_task(
        world.cache.lookup([world.ask(PASSWORD, **WISH, deadline=world.clock.steady() + 0.5)])
    )
    await asked.wait()
    (answer,) = await hurried
    told.set()
    await turns()
    leases.take = take  # type: ignore[method-assign]
    again = await one(world, PASSWORD)

    assert isinstance(answer, Answer)
    assert answer.lease is None
    assert isinstance(again, Answer)
    assert again.lease is not None


async def test_who_fetches_for_another_conversation_is_not_waited_for() -> None:
    world = await make_world()
    world.namespace = namespace(history="similar")
    await one(world, PASSWORD, turn=Turn(normalise(PASSWORD), history="we spoke of mail"))

    other = await one(world, NEAR, turn=Turn(normalise(NEAR), history="we spoke of banks"))

    assert isinstance(other, Answer)
    assert other.lease is not None


async def test_who_gives_up_as_the_lease_becomes_his_gives_it_back() -> None:
    world = await make_world()
    first, second = await first_and_second(world, PASSWORD)
    released, take = asyncio.Event(), world.cache._fills._leases.take

    async def take_and_tell(*arguments: Any) -> Any:
        grant = await take(*arguments)
        released.set()
        return grant

    world.cache._fills._leases.take = take_and_tell  # type: ignore[method-assign]
    assert first.lease is not None
    await world.cache.release(first.lease.id)
    await released.wait()
    second.cancel()
    await turns()
    world.cache._fills._leases.take = take  # type: ignore[method-assign]
    again = await one(world, PASSWORD)

    assert isinstance(again, Answer)
    assert again.lease is not None


async def test_whose_caller_has_no_time_left_is_told_who_fetches() -> None:
    world = await make_world()
    await one(world, PASSWORD)

    later = await one(world, PASSWORD, caller_deadline=world.clock.steady())

    assert isinstance(later, asyncio.Future)
    assert (await later).reason is Reason.FILLING
