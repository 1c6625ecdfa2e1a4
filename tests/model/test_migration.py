"""Two stores, a carrier and callers in any order of events: what was removed is in none, what is there is in both."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from semcache.entry import EmbeddedEntry, Entry, EntryId, Record, State
from semcache.migration.carrier import Carrier, Side
from semcache.migration.view import PairedStore
from semcache.settings import MigrationSettings
from semcache.store import EntryStore, Page, Selector
from tests.fakes.embedder import FakeEmbedder
from tests.fakes.entries import NOW, entry
from tests.fakes.migrations import NAMESPACE, model, rows
from tests.fakes.store import FakeStore

PROMPTS = ["p0", "p1", "p2", "p3", "p4"]
CHANGES = st.lists(
    st.tuples(st.sampled_from(["add", "store", "remove", "quarantine"]), st.sampled_from(PROMPTS), st.booleans()),
    max_size=12,
)


class HesitantStore(FakeStore):
    """Gives way to others before and after each verb, as often as its dice say."""

    def __init__(self, embedder: FakeEmbedder, dice: random.Random) -> None:
        super().__init__(embedder.identity)
        self._dice = dice

    async def _wait(self) -> None:
        for _ in range(self._dice.randrange(4)):
            await asyncio.sleep(0)

    async def add(self, entries: Sequence[EmbeddedEntry]) -> None:
        await self._wait()
        await super().add(entries)
        await self._wait()

    async def publish(self, entries: Sequence[Entry]) -> None:
        await self._wait()
        await super().publish(entries)
        await self._wait()

    async def amend(self, records: Mapping[EntryId, Record]) -> None:
        await self._wait()
        await super().amend(records)
        await self._wait()

    async def remove(self, selector: Selector, limit: int) -> int:
        await self._wait()
        removed = await super().remove(selector, limit)
        await self._wait()
        return removed

    async def scan(self, selector: Selector, limit: int, start: EntryId | None = None) -> Page:
        await self._wait()
        page = await super().scan(selector, limit, start)
        await self._wait()
        return page


async def change(view: EntryStore, embedder: FakeEmbedder, what: str, prompt: str, number: int) -> None:
    match what:
        case "add":
            await view.add(await rows(embedder, [prompt], created_at=NOW + number))
        case "store":
            pending = await rows(embedder, [prompt], created_at=NOW + number, record=Record(State.PENDING))
            await view.add(pending)
            await view.publish([replace(each.entry, record=Record()) for each in pending])
        case "remove":
            await view.remove(Selector(ids=(entry(prompt).id,)), 1)
        case _:
            await view.amend({entry(prompt).id: Record(State.QUARANTINED, wrong=number)})


async def run(changes: Sequence[tuple[str, str, bool]], seed: int) -> None:
    dice = random.Random(seed)
    old_model, new_model = model("old"), model("new")
    old, new = HesitantStore(old_model, dice), HesitantStore(new_model, dice)
    sides = Side(old_model, old), Side(new_model, new)
    carrier = Carrier(NAMESPACE, *sides, MigrationSettings(batch_entries_max=2))
    views = PairedStore(old, new, carrier, is_target=False), PairedStore(new, old, carrier, is_target=True)
    await FakeStore.add(old, await rows(old_model, PROMPTS))
    is_over = False

    async def carry() -> None:
        while not is_over or not carrier.is_done:
            await carrier.step()
            await asyncio.sleep(0)

    carrying = asyncio.create_task(carry())
    is_moved = False
    for number, (what, prompt, moves) in enumerate(changes, 1):
        is_moved = is_moved or moves
        await change(views[is_moved], (old_model, new_model)[is_moved], what, prompt, number)
    is_over = True
    await carrying

    assert {one: each.entry for one, each in new.rows.items()} == {one: each.entry for one, each in old.rows.items()}
    assert not is_pending(old)
    removed = [prompt for prompt in PROMPTS if last(changes, prompt) == "remove"]
    assert not {entry(prompt).id for prompt in removed} & set(new.rows)


def last(changes: Sequence[tuple[str, str, bool]], prompt: str) -> str:
    """What was done last that adds or removes."""
    done = [what for what, which, _ in changes if which == prompt and what != "quarantine"]
    return done[-1] if done else "add"


def is_pending(store: FakeStore) -> bool:
    return any(each.entry.record.state is State.PENDING for each in store.rows.values())


@settings(max_examples=300, deadline=None)
@given(CHANGES, st.integers(0, 2**32))
def test_both_stores_end_equal_and_nothing_removed_comes_back(
    changes: Sequence[tuple[str, str, bool]], seed: int
) -> None:
    asyncio.run(run(changes, seed))
