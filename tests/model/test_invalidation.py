"""Two replicas over one store, in any order of events: what was asked for before an invalidation is not served after it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from semcache.drafts import identify
from semcache.embedder import ModelIdentity
from semcache.entry import EmbeddedEntry, Entry, EntryId
from semcache.invalidation import Moment, Noted
from semcache.store import Page, Selector
from tests.fakes.caches import World, completion, make_world
from tests.fakes.store import FakeStore, FakeStores

P = ParamSpec("P")
T = TypeVar("T")

PROMPTS = [f"how do I reset password {number}" for number in range(2)]
SLOW_SHARE = 0.15
KINDS = ["fill", "fill", "fill", "look", "look", "entry", "tag", "scope", "tenant", "everything"]
EVENTS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 1), st.integers(0, 1)), min_size=3, max_size=10)


class Dice:
    """Gives way to others as often as it says."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    async def wait(self, most: int = 6) -> None:
        # Long now and then: all of an invalidation fits between two steps of an offer.
        for _ in range(self._random.randrange(80 if self._random.random() < SLOW_SHARE else most)):
            await asyncio.sleep(0)

    async def around(self, verb: Callable[P, Awaitable[T]], *arguments: P.args, **options: P.kwargs) -> T:
        await self.wait()
        done = await verb(*arguments, **options)
        await self.wait()
        return done


class HesitantStore(FakeStore):
    """Hesitates before and after what it does."""

    def __init__(self, identity: ModelIdentity, dice: Dice) -> None:
        super().__init__(identity)
        self._dice = dice

    async def get(self, ids: Sequence[EntryId], now: float) -> Sequence[Entry | None]:
        return await self._dice.around(super().get, ids, now)

    async def add(self, entries: Sequence[EmbeddedEntry]) -> None:
        await self._dice.around(super().add, entries)

    async def publish(self, entries: Sequence[Entry]) -> None:
        await self._dice.around(super().publish, entries)

    async def remove(self, selector: Selector, limit: int) -> int:
        return await self._dice.around(super().remove, selector, limit)

    async def scan(self, selector: Selector, limit: int, start: EntryId | None = None) -> Page:
        return await self._dice.around(super().scan, selector, limit, start)


class HesitantStores(FakeStores):
    """Hesitates, too."""

    def __init__(self, dice: Dice) -> None:
        super().__init__()
        self._dice = dice

    async def open(self, identity: ModelIdentity) -> FakeStore:
        return self._stores.setdefault(identity.slug, HesitantStore(identity, self._dice))

    async def models(self) -> Mapping[str, ModelIdentity]:
        return await self._dice.around(super().models)

    async def moments(self, namespaces: Sequence[str]) -> Sequence[Moment]:
        return await self._dice.around(super().moments, namespaces)

    async def invalidate(self, namespace: str, subjects: Collection[str], now: float) -> int:
        return await self._dice.around(super().invalidate, namespace, subjects, now)

    async def invalidations(self, namespace: str, after: int) -> Sequence[Noted]:
        return await self._dice.around(super().invalidations, namespace, after)

    async def advance_epoch(self, namespace: str, now: float) -> int:
        return await self._dice.around(super().advance_epoch, namespace, now)


class History:
    """What happened, on one clock that ticks with each event."""

    def __init__(self, worlds: Sequence[World], dice: Dice) -> None:
        self._worlds = worlds
        self._dice = dice
        self._now = 0
        self.invalidated: list[tuple[int, int, Collection[int]]] = []
        self.served: list[tuple[int, int, int]] = []

    async def run(self, kind: str, which: int, replica: int) -> None:
        await self._dice.wait(20)
        world = self._worlds[replica]
        match kind:
            case "fill":
                await self._fill(world, which)
            case "look":
                await self.look(world, which)
            case _:
                begun = self._tick()
                await self._invalidate(world, kind, which)
                meant = [which] if kind in {"entry", "tag"} else range(len(PROMPTS))
                self.invalidated.append((begun, self._tick(), meant))

    async def look(self, world: World, which: int) -> None:
        begun = self._tick()
        answer = await world.lookup(PROMPTS[which], is_exact_only=True)
        if answer.entry is not None:
            self.served.append((which, int(answer.entry.completion.text), begun))

    async def _fill(self, world: World, which: int) -> None:
        answer = await world.lookup(PROMPTS[which], is_exact_only=True)
        asked = self._tick()
        await self._dice.wait(30)
        fields: dict[str, Any] = {"completion": completion(str(asked)), "tags": (f"tag {which}",)}
        await world.store_one(PROMPTS[which], lookup_id=answer.lookup_id, **fields)

    async def _invalidate(self, world: World, kind: str, which: int) -> None:
        curating, now = world.cache.curating, world.clock.wall()
        scope, entry = identify(world.ask(PROMPTS[which]))
        named: dict[str, Any] = {
            "entry": {"ids": (entry,)}, "tag": {"tag": f"tag {which}"}, "scope": {"scope": scope}, "tenant": {"tenant": "acme"},
        }  # fmt: skip
        if kind == "everything":
            await curating.empty(world.namespace, now, is_dry_run=False)
        else:
            await curating.invalidate(world.namespace, Selector(namespace="support", **named[kind]), now)

    def _tick(self) -> int:
        self._now += 1
        return self._now


async def play(events: Sequence[tuple[str, int, int]], seed: int) -> History:
    dice = Dice(seed)
    stores = HesitantStores(dice)
    worlds = [await make_world(stores), await make_world(stores)]
    history = History(worlds, dice)
    await asyncio.gather(*(history.run(*event) for event in events))
    for which in range(len(PROMPTS)):
        await history.look(worlds[0], which)
    return history


@settings(max_examples=400, deadline=None)
@given(EVENTS, st.integers(0, 2**32))
def test_no_answer_is_served_after_it_was_invalidated(events: Sequence[tuple[str, int, int]], seed: int) -> None:
    history = asyncio.run(play(events, seed))

    wrong = [
        (which, asked, begun, looked)
        for which, asked, looked in history.served
        for begun, ended, meant in history.invalidated
        if which in meant and asked < begun and ended < looked
    ]
    assert wrong == []


def test_answers_are_served_where_nothing_is_invalidated() -> None:
    history = asyncio.run(play([("fill", 0, 0), ("fill", 1, 1)], 1))

    assert {which for which, _, _ in history.served} == {0, 1}
