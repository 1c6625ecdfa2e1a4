"""Entries that come along with the search for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from semcache.answers import Outcome, Reason
from semcache.backends import Backend
from semcache.entry import Entry, EntryId, Record, State
from semcache.store import Candidate, Question
from tests.fakes.caches import World, make_world
from tests.fakes.store import FakeStore

PASSWORD = "how do I reset my password"
NEAR = "how do I reset my own password"


class Bringing(FakeStore):
    """Brings what it is told along with its findings, and counts who asks for entries by id."""

    gets = 0

    def __init__(self, store: FakeStore, bring: Callable[[Entry], Entry | None]) -> None:
        super().__init__(store.identity)
        self.rows = store.rows
        self.bring = bring

    async def get(self, ids: Sequence[EntryId], now: float) -> Sequence[Entry | None]:
        self.gets += 1
        return await super().get(ids, now)

    async def nearest(self, questions: Sequence[Question], now: float) -> Sequence[Sequence[Candidate]]:
        found = await super().nearest(questions, now)
        return [[replace(each, entry=self.bring(self.rows[each.id].entry)) for each in near] for near in found]


async def bringing(bring: Callable[[Entry], Entry | None]) -> tuple[World, Bringing]:
    world = await make_world()
    await world.store_one(PASSWORD)
    store = Bringing(world.store, bring)
    world.backends.backend = Backend(world.embedder, store)
    return world, store


async def test_an_entry_that_came_with_the_search_is_not_asked_for_again() -> None:
    world, store = await bringing(lambda entry: entry)

    answer = await world.lookup(NEAR)

    assert (answer.outcome, answer.entry is not None, store.gets) == (Outcome.SEMANTIC, True, 1)


async def test_an_entry_that_did_not_come_is_asked_for() -> None:
    world, store = await bringing(lambda _: None)

    answer = await world.lookup(NEAR)

    assert (answer.outcome, answer.entry is not None, store.gets) == (Outcome.SEMANTIC, True, 2)


@pytest.mark.parametrize(
    "other",
    [
        {"scope": "0" * 32},
        {"epoch": 1},
        {"record": Record(State.QUARANTINED)},
        {"record": Record(State.PENDING)},
        {"expires_at": 0.0},
        {"created_at": 0.0},
    ],
    ids=["another scope", "another epoch", "in quarantine", "pending", "expired", "too old"],
)
async def test_what_came_with_the_search_is_held_against_all_that_is_asked(other: dict[str, Any]) -> None:
    world, _ = await bringing(lambda entry: replace(entry, **other))

    answer = await world.lookup(NEAR, max_age_seconds=1_000.0)

    assert (answer.outcome, answer.reason, answer.step) == (Outcome.MISS, Reason.NOT_FOUND, "search")
