from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semcache.answers import Answer, Outcome, Reason, Turn
from semcache.entry import Record, State
from semcache.errors import StoreUnavailable
from semcache.invalidation import Moment
from semcache.scope import Scope
from tests.fakes.caches import SURE_ABOVE, completion, make_world, namespace

PASSWORD = "how do I reset my password"
NEAR = "how do I reset my own password"
FULL = Scope(
    "support",
    tenant="acme",
    user="u",
    api_schema="openai.chat",
    model="m",
    system_prompt="s",
    tools=[{"name": "t"}],
    response_format={"type": "text"},
    sampling={"temperature": 0},
    region="eu",
    extra={"app": "web"},
)


def told(answer: Answer) -> tuple[Outcome, Reason, str]:
    return answer.outcome, answer.reason, answer.step


async def test_what_was_never_stored_is_not_found() -> None:
    world = await make_world()

    assert told(await world.lookup(PASSWORD)) == (Outcome.MISS, Reason.NOT_FOUND, "search")


async def test_the_same_prompt_is_an_exact_hit() -> None:
    world = await make_world()
    kept = await world.store_one(PASSWORD)
    world.clock.advance(10)

    answer = await world.lookup(f" {PASSWORD.replace(' ', '  ')}\u200b")

    assert told(answer) == (Outcome.EXACT, Reason.NONE, "exact")
    assert (answer.entry_id, answer.similarity, answer.confidence, answer.age_seconds) == (
        kept.entry_id,
        1.0,
        1.0,
        10.0,
    )
    assert answer.entry is not None
    assert answer.entry.completion == completion()


async def test_an_exact_hit_embeds_nothing() -> None:
    world = await make_world()
    await world.store_one(PASSWORD)
    world.embedder.texts.clear()

    await world.lookup(PASSWORD)

    assert world.embedder.texts == []


async def test_a_near_prompt_is_a_semantic_hit_with_its_confidence() -> None:
    world = await make_world()
    kept = await world.store_one(PASSWORD)

    answer = await world.lookup(NEAR)

    assert told(answer) == (Outcome.SEMANTIC, Reason.NONE, "verifier")
    assert (answer.entry_id, answer.similarity > SURE_ABOVE, answer.confidence > 0.99) == (kept.entry_id, True, True)


async def test_a_semantic_hit_is_not_copied_to_the_exact_tier() -> None:
    world = await make_world()
    await world.store_one(PASSWORD)
    for _ in range(3):
        answer = await world.lookup(NEAR)

    assert answer.outcome is Outcome.SEMANTIC
    assert len(world.store.rows) == 1


async def test_a_guard_refuses_what_is_near_and_is_named() -> None:
    world = await make_world()
    kept = await world.store_one("what is the tax on 100 euros in France")

    answer = await world.lookup("what is the tax on 200 euros in France")

    assert told(answer) == (Outcome.MISS, Reason.GUARD, "guard")
    assert (answer.guard, answer.entry_id) == ("numbers", kept.entry_id)


async def test_behind_a_refused_entry_the_next_one_is_looked_at() -> None:
    world = await make_world()
    await world.store_one("please what is the tax on 100 euros in France")
    right = await world.store_one("what is the tax for 200 euros in all of France")

    answer = await world.lookup("please what is the tax on 200 euros in France")

    assert (answer.outcome, answer.entry_id) == (Outcome.SEMANTIC, right.entry_id)


async def test_without_guards_a_threshold_alone_decides() -> None:
    world = await make_world()
    world.namespace = namespace(target_error=None, threshold=0.85, guards=False)
    await world.store_one("what is the tax on 100 euros in France")

    answer = await world.lookup("what is the tax on 200 euros in France")

    assert answer.outcome is Outcome.SEMANTIC


async def test_a_threshold_refuses_what_is_less_similar() -> None:
    world = await make_world()
    world.namespace = namespace(target_error=None, threshold=0.99)
    await world.store_one(PASSWORD)

    assert told(await world.lookup(NEAR)) == (Outcome.MISS, Reason.LOW_CONFIDENCE, "verifier")


async def test_a_caller_may_ask_for_more_confidence() -> None:
    world = await make_world()
    await world.store_one(PASSWORD)

    assert told(await world.lookup(NEAR, confidence_min=0.9999)) == (Outcome.MISS, Reason.LOW_CONFIDENCE, "verifier")


async def test_a_caller_may_not_ask_for_less() -> None:
    world = await make_world()
    world.namespace = namespace(target_error=None, threshold=0.99)
    await world.store_one(PASSWORD)

    assert (await world.lookup(NEAR, confidence_min=0.0)).outcome is Outcome.MISS


async def test_a_share_of_hits_is_explored_and_names_its_entry() -> None:
    world = await make_world()
    world.namespace = namespace(explore=0.5)
    kept = await world.store_one(PASSWORD)

    answers = [await world.lookup(NEAR) for _ in range(40)]

    explored = [answer for answer in answers if answer.reason is Reason.EXPLORED]
    assert 0 < len(explored) < 40
    assert {answer.entry_id for answer in explored} == {kept.entry_id}


@pytest.mark.parametrize(
    ("fields_", "reason"),
    [({"is_exact_only": True}, Reason.EXACT_ONLY), ({"namespace": namespace(semantic=False)}, Reason.EXACT_ONLY)],
    ids=["the caller", "the namespace"],
)
async def test_only_the_same_prompt_will_do_where_that_is_wanted(fields_: dict[str, Any], reason: Reason) -> None:
    world = await make_world()
    await world.store_one(PASSWORD)

    assert told(await world.lookup(NEAR, **fields_)) == (Outcome.MISS, reason, "exact")
    assert (await world.lookup(PASSWORD, **fields_)).outcome is Outcome.EXACT


async def test_a_deictic_turn_is_exact_only() -> None:
    world = await make_world()
    turns = [{"role": "user", "content": "tell me about weirs"}]
    await world.store_one("go on please", turn=Turn("go on please", turns))

    assert (await world.lookup("", turn=Turn("go on please", turns))).outcome is Outcome.EXACT
    assert told(await world.lookup("", turn=Turn("please go on", turns))) == (Outcome.MISS, Reason.DEICTIC, "exact")


async def test_a_conversation_before_is_part_of_the_scope() -> None:
    world = await make_world()
    await world.store_one(PASSWORD, turn=Turn(PASSWORD, [{"role": "user", "content": "hi"}]))

    others = ([{"role": "user", "content": "hello"}], None, [])
    answers = [await world.lookup("", turn=Turn(PASSWORD, other)) for other in others]

    assert [answer.outcome for answer in answers] == [Outcome.MISS] * 3


@pytest.mark.parametrize("tenant", [None, ""])
async def test_a_missing_identity_is_a_bypass_and_asks_nobody(tenant: str | None) -> None:
    world = await make_world()
    world.store.failure = StoreUnavailable("must not be asked")

    answer = await world.lookup(PASSWORD, Scope("support", tenant=tenant))

    assert told(answer) == (Outcome.BYPASS, Reason.MISSING_SCOPE, "scope")
    assert (answer.missing, answer.lookup_id) == ("tenant", "")


async def test_a_namespace_that_is_off_is_a_bypass() -> None:
    world = await make_world()
    await world.store_one(PASSWORD)

    assert told(await world.lookup(PASSWORD, namespace=namespace(enabled=False))) == (
        *(Outcome.BYPASS, Reason.DISABLED, "scope"),
    )


async def test_a_prompt_above_the_bound_is_a_bypass() -> None:
    world = await make_world()
    world.namespace = namespace(retention={"prompt_bytes_max": 20})

    assert told(await world.lookup(PASSWORD)) == (Outcome.BYPASS, Reason.TOO_LONG, "scope")


async def test_nothing_expired_is_served() -> None:
    world = await make_world()
    world.namespace = namespace(ttl={"default": 60, "jitter": 0})
    await world.store_one(PASSWORD)

    world.clock.advance(59)
    before = [(await world.lookup(prompt)).outcome for prompt in (PASSWORD, NEAR)]
    world.clock.advance(1)
    after = [(await world.lookup(prompt)).outcome for prompt in (PASSWORD, NEAR)]

    assert (before, after) == ([Outcome.EXACT, Outcome.SEMANTIC], [Outcome.MISS] * 2)


@pytest.mark.parametrize("prompt", [PASSWORD, NEAR])
async def test_what_is_older_than_a_caller_wants_is_not_served(prompt: str) -> None:
    world = await make_world()
    await world.store_one(PASSWORD)
    world.clock.advance(100)

    assert (await world.lookup(prompt, max_age_seconds=99)).outcome is Outcome.MISS
    assert (await world.lookup(prompt, max_age_seconds=100)).is_hit


@pytest.mark.parametrize("prompt", [PASSWORD, NEAR])
async def test_after_an_invalidation_nothing_of_before_is_served(prompt: str) -> None:
    world = await make_world()
    await world.store_one(PASSWORD)

    await world.cache.curating.empty(world.namespace, world.clock.wall(), is_dry_run=False)

    assert (await world.lookup(prompt)).outcome is Outcome.MISS


@pytest.mark.parametrize("prompt", [PASSWORD, NEAR])
async def test_what_is_in_quarantine_is_not_served(prompt: str) -> None:
    world = await make_world()
    kept = await world.store_one(PASSWORD)
    assert kept.entry_id is not None
    await world.store.amend({kept.entry_id: Record(State.QUARANTINED, wrong=1)})

    assert (await world.lookup(prompt)).outcome is Outcome.MISS


DIFFERENT: dict[str, object] = {
    "namespace": "support2",
    "tenant": "globex",
    "user": "v",
    "api_schema": "anthropic.messages",
    "model": "n",
    "system_prompt": "t",
    "history": [],
    "tools": [{"name": "u"}],
    "response_format": {"type": "json_object"},
    "sampling": {"temperature": 1},
    "region": "us",
    "extra": {"app": "mobile"},
}


def test_every_field_of_a_scope_is_tried() -> None:
    assert DIFFERENT.keys() == {field.name for field in fields(Scope)}


@pytest.mark.parametrize("field", DIFFERENT.keys() - {"history"})
@pytest.mark.parametrize("prompt", [PASSWORD, NEAR])
async def test_any_single_field_that_differs_is_no_hit(field: str, prompt: str) -> None:
    world = await make_world()
    await world.store_one(PASSWORD, FULL)
    other = replace(FULL, **{field: DIFFERENT[field]})  # type: ignore[arg-type] # a field of it

    assert (await world.lookup(prompt, FULL)).is_hit
    assert not (await world.lookup(prompt, other, namespace=namespace(name=other.namespace))).is_hit


scopes = st.builds(
    Scope,
    st.just("support"),
    tenant=st.sampled_from(["a", "b", "ab"]),
    user=st.sampled_from([None, "", "a"]),
    model=st.sampled_from([None, "", "a"]),
    system_prompt=st.sampled_from([None, "", "a"]),
    tools=st.sampled_from([None, [], {}, ""]),
    extra=st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["", "a"]), max_size=2),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scopes, scopes, st.sampled_from([PASSWORD, NEAR]))
async def test_an_answer_is_shared_only_by_equal_scopes(mine: Scope, other: Scope, prompt: str) -> None:
    world = await make_world()
    await world.store_one(PASSWORD, mine)

    assert (await world.lookup(prompt, other)).is_hit is (mine == other)


async def test_what_the_model_could_not_read_is_said() -> None:
    world = await make_world()
    world.namespace = namespace(retention={"prompt_bytes_max": 100_000})

    answer = await world.lookup("weir " * 300)

    assert (answer.outcome, answer.reason, answer.step) == (Outcome.MISS, Reason.UNREAD, "embed")
    assert answer.tokens_unread == 302 - 256


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ("weir " * 300 + "How high is it?", "weir " * 300 + "How deep is it?"),
        ("weir " * 250 + "How high is it, and why?", "weir " * 250),
        ("What does \U0001f44d mean in a chat?", "What does \U0001f44e mean in a chat?"),
        ("What does \U0001f44d mean in a chat?", "What does \U0001f44d mean in a chats?"),
        ("What does \U0001f44d mean in a chat?", "What does mean in a chat?"),
    ],
    ids=["another end", "an end that was cut", "another sign", "the same sign", "no sign"],
)
async def test_what_the_model_could_not_read_is_found_by_the_same_words_only(stored: str, asked: str) -> None:
    world = await make_world()
    world.namespace = namespace(target_error=None, threshold=0.5, guards=False)
    await world.store_one(stored)

    outcomes = [(await world.lookup(prompt)).outcome for prompt in (stored, asked)]

    assert outcomes == [Outcome.EXACT, Outcome.MISS]


async def test_where_the_moment_is_known_nobody_is_asked_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await make_world()
    await world.store_one(PASSWORD)

    async def never(names: Any) -> Any:
        raise StoreUnavailable(f"asked for {names}")

    monkeypatch.setattr(world.stores, "moments", never)
    monkeypatch.setattr(world.stores, "known_moments", lambda names: [Moment() for _ in names])

    assert told(await world.lookup(PASSWORD)) == (Outcome.EXACT, Reason.NONE, "exact")
