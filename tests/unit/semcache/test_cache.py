from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from semcache.answers import Answer, Outcome, Reason
from semcache.errors import EmbedTimeout, EmbedUnavailable, StoreTimeout, StoreUnavailable
from semcache.scope import Scope
from semcache.store import Candidate, Question, Selector
from semcache.tickets import read_ticket
from tests.fakes.caches import World, completion, make_world, namespace

PASSWORD = "how do I reset my password"
NEAR = "how do I reset my own password"
# Enough to get as far as what is slow, also on a machine under load.
HURRIED_SECONDS = 0.5


def told(answer: Answer) -> tuple[Outcome, Reason, str]:
    return answer.outcome, answer.reason, answer.step


FAILURES = {
    "store away": (StoreUnavailable("x"), None, (Outcome.BYPASS, Reason.STORE_AWAY, "exact")),
    "store slow": (StoreTimeout("x"), None, (Outcome.BYPASS, Reason.STORE_AWAY, "exact")),
    "model away": (None, EmbedUnavailable("x"), (Outcome.MISS, Reason.EMBEDDER, "embed")),
    "model slow": (None, EmbedTimeout("x"), (Outcome.MISS, Reason.EMBEDDER, "embed")),
}


@pytest.mark.parametrize(("of_store", "of_model", "expected"), FAILURES.values(), ids=FAILURES.keys())
async def test_what_fails_is_named_and_is_no_error(of_store: Any, of_model: Any, expected: object) -> None:
    world = await make_world()
    world.store.failure, world.embedder.failure = of_store, of_model

    assert told(await world.lookup(PASSWORD)) == expected


async def test_an_exact_hit_does_not_need_the_model() -> None:
    world = await make_world()
    await world.store_one(PASSWORD)
    world.embedder.failure = EmbedUnavailable("x")

    assert (await world.lookup(PASSWORD)).outcome is Outcome.EXACT


async def test_a_batch_is_one_inference_and_one_search() -> None:
    world = await make_world()
    await world.store_one(PASSWORD)
    world.embedder.texts.clear()
    prompts = [NEAR, PASSWORD, "what is a weir and what is it for", NEAR]

    answers = await world.cache.lookup([world.ask(prompt) for prompt in prompts])

    assert [answer.outcome for answer in answers if isinstance(answer, Answer)] == [
        *(Outcome.SEMANTIC, Outcome.EXACT, Outcome.MISS, Outcome.SEMANTIC),
    ]
    assert world.embedder.texts == [NEAR, prompts[2]]


async def test_two_namespaces_of_one_batch_do_not_mix() -> None:
    world = await make_world()
    other = namespace(name="sales")
    await world.store_one(PASSWORD)

    mine, theirs = await world.cache.lookup(
        [world.ask(PASSWORD), world.ask(PASSWORD, Scope("sales", tenant="acme"), namespace=other)]
    )

    assert (mine.outcome, theirs.outcome) == (Outcome.EXACT, Outcome.MISS)  # type: ignore[union-attr] # both are there


async def test_hits_are_written_down_behind() -> None:
    world = await make_world()
    kept = await world.store_one(PASSWORD)
    await world.cache.lookup([world.ask(PASSWORD), world.ask(NEAR)])
    world.clock.advance(5)
    await world.lookup(NEAR)

    await world.cache.upkeep.flush()

    (row,) = (await world.store.scan(Selector(), 10)).entries
    assert (row.entry.id, row.entry.record.hits, row.entry.record.used_at) == (kept.entry_id, 3, world.clock.wall())


async def test_concurrent_batches_are_answered_each_for_itself() -> None:
    world = await make_world()
    await world.store_one(PASSWORD)

    answers = await asyncio.gather(*(world.lookup(prompt) for prompt in [PASSWORD, NEAR] * 20))

    assert [answer.outcome for answer in answers] == [Outcome.EXACT, Outcome.SEMANTIC] * 20


class Slow:
    """Has a verb of an object wait until it is let go."""

    def __init__(self, owner: Any, verb: str) -> None:
        self.gate = asyncio.Event()
        self.asked = asyncio.Event()
        self._inner = getattr(owner, verb)
        setattr(owner, verb, self._wait)

    async def _wait(self, *arguments: Any) -> Any:
        self.asked.set()
        await self.gate.wait()
        return await self._inner(*arguments)


SLOW = {
    "get": (Outcome.BYPASS, Reason.STORE_AWAY, "exact"),
    "embed": (Outcome.MISS, Reason.EMBEDDER, "embed"),
    "nearest": (Outcome.MISS, Reason.STORE, "search"),
}


def slow(world: World, verb: str) -> Slow:
    return Slow(world.embedder if verb == "embed" else world.store, verb)


@pytest.mark.parametrize(("verb", "expected"), SLOW.items(), ids=SLOW.keys())
async def test_what_is_slow_is_cut_at_the_deadline_and_named(verb: str, expected: object) -> None:
    world = await make_world()
    await world.store_one(PASSWORD)
    slow(world, verb)
    prompt = PASSWORD if verb == "get" else "how should I reset my password"

    answer = await world.lookup(prompt, deadline=world.clock.steady() + HURRIED_SECONDS)

    assert told(answer) == expected
    assert world.value("searches.late") + len(world.cache._searches) == 1
    await world.cache.stop()


async def test_who_has_more_time_is_answered_later_and_better() -> None:
    world = await make_world()
    await world.store_one(PASSWORD)
    held = slow(world, "nearest")
    now = world.clock.steady()
    asks = [world.ask(NEAR, deadline=now + HURRIED_SECONDS), world.ask(NEAR, deadline=now + 60)]

    hurried, patient = await world.cache.lookup(asks)

    assert isinstance(hurried, Answer)
    assert told(hurried) == (Outcome.MISS, Reason.STORE, "search")
    assert not isinstance(patient, Answer)
    assert not patient.done()
    held.gate.set()
    assert (await patient).outcome is Outcome.SEMANTIC


async def test_a_search_that_fails_is_a_bypass_and_says_nothing_of_its_prompt(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = await make_world()

    async def broken(ids: Sequence[object], now: float) -> Sequence[object]:
        raise LookupError(len(ids), now)

    world.store.get = broken  # type: ignore[method-assign, assignment]

    answer = await world.lookup("a secret of mine that nobody may read")

    assert told(answer) == (Outcome.BYPASS, Reason.STORE_AWAY, "exact")
    assert world.value("searches.failed") == 1
    assert "secret" not in caplog.text


async def test_a_model_that_is_not_loaded_is_a_bypass() -> None:
    world = await make_world()
    world.backends.backend = None

    assert told(await world.lookup(PASSWORD)) == (Outcome.BYPASS, Reason.STORE_AWAY, "exact")


async def test_an_entry_that_goes_between_search_and_serving_is_not_served() -> None:
    world = await make_world()
    await world.store_one(PASSWORD)
    nearest = world.store.nearest

    async def nearest_and_gone(questions: Sequence[Question], now: float) -> Sequence[Sequence[Candidate]]:
        found = await nearest(questions, now)
        await world.store.remove(Selector(), 10)
        return [[replace(each, entry=None) for each in near] for near in found]

    world.store.nearest = nearest_and_gone  # type: ignore[method-assign]

    assert told(await world.lookup(NEAR)) == (Outcome.MISS, Reason.NOT_FOUND, "search")


async def test_lookups_are_counted_by_how_they_ended() -> None:
    world = await make_world()
    await world.store_one(PASSWORD)
    for prompt in (PASSWORD, NEAR, NEAR, "what is a weir and what is it for"):
        await world.lookup(prompt)
    await world.lookup(PASSWORD, Scope("support"))

    tally = world.cache.tally(world.namespace)

    assert (tally.exact_hits, tally.semantic_hits, tally.misses, tally.bypasses) == (1, 2, 1, 1)
    assert world.value("lookups", outcome="semantic", reason="none", step="verifier", ns="support") == 2
    assert tally.saved.output_tokens == 3 * completion().usage.output_tokens


async def test_a_shadow_setting_is_counted_and_serves_nothing() -> None:
    world = await make_world()
    world.namespace = namespace(target_error=None, threshold=0.99, shadow={"threshold": 0.8})
    await world.store_one(PASSWORD)

    answer = await world.lookup(NEAR)

    assert answer.outcome is Outcome.MISS
    assert world.value("shadow", outcome="hit") == 1


async def test_a_shadow_setting_is_compared_by_its_hits_and_its_judged_errors() -> None:
    world = await make_world()
    world.namespace = namespace(target_error=None, threshold=0.99, shadow={"threshold": 0.8})
    await world.store_one(PASSWORD)
    for prompt in (PASSWORD, NEAR, "what is a weir and what is it for"):
        await world.lookup(prompt)
    missed = await world.lookup(NEAR)
    assert missed.entry_id is not None

    await world.cache.judge(world.namespace, missed.entry_id, read_ticket(missed.lookup_id), is_right=False)

    state = await world.cache.curating.describe(world.namespace, world.cache.tally(world.namespace))
    assert (state.tally.shadow_asked, state.tally.shadow_hits) == (4, 3)
    assert world.value("shadow.judged", judgement="wrong") == 1
    assert state.standing.shadow is not None
    assert (state.standing.shadow.labels, state.standing.shadow.wrong) == (1, 1)
