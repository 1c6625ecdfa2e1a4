from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from semcache.answers import Outcome, Refusal, Turn
from semcache.entry import EmbeddedEntry, Record, State
from semcache.errors import EmbedUnavailable, StoreUnavailable
from semcache.invalidation import NOTED_MAX, subjects
from semcache.scope import Scope
from semcache.store import Selector
from semcache.tickets import read_lease
from tests.fakes.caches import World, completion, make_world, namespace

PASSWORD = "how do I reset my password"
BY_MEANING = namespace(history="similar")

REFUSED: dict[str, tuple[dict[str, Any], Refusal, str]] = {
    "switched off": ({"namespace": namespace(enabled=False)}, Refusal.DISABLED, ""),
    "no tenant": ({"scope": Scope("support")}, Refusal.MISSING_SCOPE, "tenant"),
    "a long prompt": ({"turn": Turn("a" * 16_385)}, Refusal.TOO_LARGE, "prompt: 16385 of 16384"),
    "a long text": ({"completion": completion("é" * 32_769)}, Refusal.TOO_LARGE, "text: 65538 of 65536"),
    "a long body": ({"completion": completion(body=bytes(65_537))}, Refusal.TOO_LARGE, "body: 65537 of 65536"),
    "many tags": ({"tags": tuple("abcdefghijklmnopq")}, Refusal.TOO_LARGE, "tags: 17 of 16"),
    "a long tag": ({"tags": ("t" * 129,)}, Refusal.TOO_LARGE, "tag: 129 of 128"),
    "a long source": ({"source": {"a": "b" * 128}}, Refusal.TOO_LARGE, "source pair: 129 of 128"),
    "a long history": (
        {"namespace": BY_MEANING, "turn": Turn("a b c d", ["x"], "h" * 16_385)},
        *(Refusal.TOO_LARGE, "history: 16385 of 16384"),
    ),
    "cut": ({"completion": completion(finish_reason="length")}, Refusal.INCOMPLETE, "finish_reason: length"),
    "filtered": (
        *({"completion": completion(finish_reason="content_filter")}, Refusal.INCOMPLETE),
        "finish_reason: content_filter",
    ),
    "empty": ({"completion": completion(" \n")}, Refusal.INCOMPLETE, "text: is empty"),
    "tool calls": ({"completion": completion(tool_calls="[{}]")}, Refusal.TOOL_CALLS, ""),
    "hot": ({"temperature": 1.01}, Refusal.TEMPERATURE, "1.01 of 1"),
    "hot as sampled": (
        *({"scope": Scope("support", tenant="a", sampling={"temperature": 2})}, Refusal.TEMPERATURE, "2 of 1"),
    ),
    "deictic": ({"turn": Turn("continue")}, Refusal.DEICTIC, ""),
}


@pytest.mark.parametrize(("fields", "refusal", "detail"), REFUSED.values(), ids=REFUSED.keys())
async def test_what_may_not_be_kept_is_refused(fields: dict[str, Any], refusal: Refusal, detail: str) -> None:
    world = await make_world()

    kept = await world.store_one(PASSWORD, **fields)

    assert (kept.refusal, kept.detail, kept.entry_id) == (refusal, detail, None)
    assert world.store.rows == {}
    assert world.value("offers", refusal=refusal.name.lower()) == 1


@pytest.mark.parametrize(
    ("retention", "fields"),
    [
        ({"tool_calls": True}, {"completion": completion("", tool_calls="[{}]", finish_reason="tool_calls")}),
        ({"finish_reasons": ["stop", "length"]}, {"completion": completion(finish_reason="length")}),
        ({"temperature_max": 2}, {"temperature": 2.0}),
        ({"deictic": True}, {"turn": Turn("continue")}),
    ],
    ids=["tool calls", "finish reasons", "temperature", "deictic turns"],
)
async def test_a_namespace_may_keep_more(retention: dict[str, Any], fields: dict[str, Any]) -> None:
    world = await make_world()
    world.namespace = namespace(retention=retention)

    assert (await world.store_one(PASSWORD, **fields)).refusal is Refusal.NONE


async def test_a_deictic_turn_after_a_conversation_is_kept() -> None:
    world = await make_world()

    assert (await world.store_one("", turn=Turn("continue", ["tell me more"]))).refusal is Refusal.NONE


@pytest.mark.parametrize(("asked", "given"), [(0.0, 100.0), (50.0, 50.0), (10_000.0, 1_000.0)])
async def test_a_life_is_the_default_or_what_is_asked_up_to_the_most(asked: float, given: float) -> None:
    world = await make_world()
    world.namespace = namespace(ttl={"default": 100, "max": 1_000, "jitter": 0})

    kept = await world.store_one(PASSWORD, ttl_seconds=asked)

    assert kept.expires_at == world.clock.wall() + given


async def test_lives_are_spread_and_never_longer() -> None:
    world = await make_world()
    world.namespace = namespace(ttl={"default": 100, "jitter": 0.2})

    lives = [(await world.store_one(f"{PASSWORD} of account {n}")).expires_at - world.clock.wall() for n in range(50)]

    assert 80 <= min(lives) < max(lives) <= 100


async def test_what_was_looked_up_is_not_embedded_again() -> None:
    world = await make_world()
    await world.lookup(PASSWORD)
    world.embedder.texts.clear()

    await world.store_one(PASSWORD)

    assert world.embedder.texts == []


async def test_a_batch_is_one_inference_and_of_two_equal_offers_the_later_counts() -> None:
    world = await make_world()
    offers = [world.offer(PASSWORD, completion=completion(text)) for text in ("first", "second")]

    kept = await world.cache.store([*offers, world.offer("continue")])

    assert [each.refusal for each in kept] == [Refusal.NONE, Refusal.NONE, Refusal.DEICTIC]
    assert world.embedder.texts == [PASSWORD]
    (row,) = world.store.rows.values()
    assert row.entry.completion.text == "second"


async def test_storing_again_keeps_how_often_it_was_used_and_forgets_judgements() -> None:
    world = await make_world()
    kept = await world.store_one(PASSWORD)
    assert kept.entry_id is not None
    await world.store.amend({kept.entry_id: Record(hits=7, right=2, wrong=1)})

    await world.store_one(PASSWORD, completion=completion("Anew."))

    (row,) = world.store.rows.values()
    assert (row.entry.record.hits, row.entry.record.right, row.entry.record.wrong) == (7, 0, 0)


async def test_what_was_reported_wrong_is_not_kept_again_and_another_answer_is() -> None:
    world = await make_world()
    kept = await world.store_one(PASSWORD)
    assert kept.entry_id is not None
    await world.store.amend({kept.entry_id: Record(State.QUARANTINED, wrong=1)})

    again = await world.store_one(PASSWORD, completion=completion(" By mail.\n"))
    other = await world.store_one(PASSWORD, completion=completion("By phone."))

    assert (again.refusal, other.refusal) == (Refusal.QUARANTINED, Refusal.NONE)
    assert (await world.lookup(PASSWORD)).outcome is Outcome.EXACT


@pytest.mark.parametrize("bearer", ["lease_id", "lookup_id"])
async def test_what_was_asked_for_before_an_invalidation_is_not_kept(bearer: str) -> None:
    world = await make_world()
    missed = await world.lookup(PASSWORD, wants_lease=True)
    assert missed.lease is not None
    await world.cache.curating.empty(world.namespace, world.clock.wall(), is_dry_run=False)

    named = {"lease_id": missed.lease.id, "lookup_id": missed.lookup_id}
    late = await world.store_one(PASSWORD, **{bearer: named[bearer]})

    assert late.refusal is Refusal.INVALIDATED
    assert (await world.store_one(PASSWORD)).refusal is Refusal.NONE


async def test_a_name_of_another_scope_dates_nothing() -> None:
    world = await make_world()
    other = await world.lookup(PASSWORD, Scope("support", tenant="globex"))
    await world.cache.curating.empty(world.namespace, world.clock.wall(), is_dry_run=False)

    assert (await world.store_one(PASSWORD, lookup_id=other.lookup_id)).refusal is Refusal.NONE


@pytest.mark.parametrize("fields", [{}, {"completion": completion("")}], ids=["kept", "refused"])
async def test_the_lease_is_given_back_whatever_comes_of_the_offer(fields: dict[str, Any]) -> None:
    world = await make_world()
    missed = await world.lookup(PASSWORD, wants_lease=True)
    assert missed.lease is not None

    await world.store_one(PASSWORD, lease_id=missed.lease.id, **fields)

    assert read_lease(missed.lease.id) is not None
    assert not await world.cache.release(missed.lease.id)


async def test_what_cannot_be_embedded_or_written_is_refused_and_may_be_offered_again() -> None:
    world = await make_world()
    world.embedder.failure = EmbedUnavailable("no model")
    first = await world.store_one(PASSWORD)
    await world.embedder.start()
    world.store.failure = StoreUnavailable("away")
    second = await world.store_one(PASSWORD)
    world.store.failure = None

    assert (first.refusal, second.refusal) == (Refusal.EMBEDDER, Refusal.STORE)
    assert (await world.store_one(PASSWORD)).refusal is Refusal.NONE


async def test_without_a_model_nothing_is_kept() -> None:
    world = await make_world()
    world.backends.backend = None

    assert (await world.store_one(PASSWORD)).refusal is Refusal.EMBEDDER


async def test_an_entry_says_whose_it_is_and_where_it_came_from() -> None:
    world = await make_world()

    await world.store_one(PASSWORD, tags=("faq",), source={"writer": "gateway"})

    (row,) = (await world.store.scan(Selector(tag="faq", tenant="acme", namespace="support"), 10)).entries
    assert (row.entry.source, row.entry.created_at, row.entry.epoch) == ({"writer": "gateway"}, world.clock.wall(), 0)


async def invalidate_once_added(world: World, tag: str) -> None:
    """Have a tag be invalidated after the next answer was added, and before it is published."""
    add = world.store.add

    async def add_and_invalidate(entries: Sequence[EmbeddedEntry]) -> None:
        await add(entries)
        await world.stores.invalidate(world.namespace.name, subjects(tags=[tag]), world.clock.wall())

    world.store.add = add_and_invalidate  # type: ignore[method-assign] # a moment that no caller can choose


async def test_what_is_invalidated_as_it_is_added_is_refused_and_not_left_there() -> None:
    world = await make_world()
    await invalidate_once_added(world, "faq")

    kept = await world.store_one(PASSWORD, tags=("faq",))

    assert (kept.refusal, kept.entry_id, world.store.rows) == (Refusal.INVALIDATED, None, {})


async def test_an_invalidation_of_something_else_keeps_nobody() -> None:
    world = await make_world()
    await invalidate_once_added(world, "prices")

    kept = await world.store_one(PASSWORD, tags=("faq",))

    assert kept.refusal is Refusal.NONE
    assert (await world.lookup(PASSWORD)).outcome is Outcome.EXACT


async def test_of_two_offers_of_one_prompt_none_stays_where_one_was_invalidated() -> None:
    world = await make_world()
    await invalidate_once_added(world, "faq")

    kept = await world.cache.store([world.offer(PASSWORD, tags=("faq",)), world.offer(PASSWORD)])

    assert [each.refusal for each in kept] == [Refusal.INVALIDATED] * 2
    assert world.store.rows == {}


async def test_what_was_asked_for_before_all_that_is_remembered_is_refused() -> None:
    world = await make_world()
    missed = await world.lookup(PASSWORD)
    for number in range(2):
        tags = [f"{number} {each}" for each in range(NOTED_MAX // 2)]
        await world.stores.invalidate(world.namespace.name, subjects(tags=tags), world.clock.wall())

    kept = await world.store_one(PASSWORD, lookup_id=missed.lookup_id)

    assert kept.refusal is Refusal.INVALIDATED
    assert (await world.store_one(PASSWORD)).refusal is Refusal.NONE


async def test_while_it_is_not_known_what_was_invalidated_nothing_is_kept() -> None:
    world = await make_world()
    world.stores.failure = StoreUnavailable("away")

    kept = await world.store_one(PASSWORD)

    assert (kept.refusal, kept.detail) == (Refusal.STORE, "it is not known what was invalidated")
    assert world.store.rows == {}
