"""Steps of a lookup that fail: callers fetch for themselves, and are told which one it was."""

from __future__ import annotations

from typing import Any

from semcache.answers import Answer, Outcome, Reason, Turn
from semcache.errors import EmbedUnavailable, StoreUnavailable
from semcache.prompt import normalise
from tests.fakes.caches import make_world, namespace

# Alike enough to be served, and not to come along with the search.
PASSWORD, ALIKE = "how do I reset my password", "how shall I reset the password"


def told(answer: Answer) -> tuple[Outcome, Reason, str]:
    return answer.outcome, answer.reason, answer.step


async def away(*_: object) -> Any:
    raise StoreUnavailable("away")


async def test_a_search_that_the_store_does_not_answer_is_a_miss() -> None:
    world = await make_world()
    await world.store_one(PASSWORD)
    world.store.nearest = away  # type: ignore[method-assign]

    assert told(await world.lookup(ALIKE)) == (Outcome.MISS, Reason.STORE, "search")


async def test_an_entry_that_cannot_be_read_once_it_is_found_is_a_miss() -> None:
    world = await make_world()
    world.namespace = namespace(target_error=None, threshold=0.6)
    await world.store_one(PASSWORD)
    get, asked = world.store.get, list[object]()

    async def get_once(*arguments: Any) -> Any:
        asked.append(arguments)
        return await (get if len(asked) == 1 else away)(*arguments)

    world.store.get = get_once  # type: ignore[method-assign]

    assert told(await world.lookup(ALIKE)) == (Outcome.MISS, Reason.STORE, "search")
    assert len(asked) == 2


async def test_conversations_that_cannot_be_compared_are_not_alike() -> None:
    world = await make_world()
    world.namespace = namespace(history="similar")
    await world.store_one(PASSWORD, turn=Turn(normalise(PASSWORD), history="we spoke of mail"))
    embed = world.embedder.embed

    async def embed_prompts(texts: Any, deadline: float = 0.0) -> Any:
        if any("spoke" in text for text in texts):
            raise EmbedUnavailable("busy")
        return await embed(texts, deadline)

    world.embedder.embed = embed_prompts  # type: ignore[method-assign]
    near = "how do I reset my own password"

    answer = await world.lookup(near, turn=Turn(normalise(near), history="we talked of post"))

    assert told(answer) == (Outcome.MISS, Reason.OTHER_HISTORY, "history")
