from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping

from semcache.entry import EntryId, Record
from semcache.upkeep import Upkeep
from serving.metrics import Registry
from tests.fakes.caches import PATIENCE_SECONDS
from tests.fakes.clock import FakeClock
from tests.fakes.entries import MODEL, NOW, row
from tests.fakes.store import FakeStore

ROWS = [row(f"p{number}", expires_at=math.inf) for number in range(40)]


class Amended(FakeStore):
    """Notes how many records come at a time."""

    def __init__(self) -> None:
        super().__init__(MODEL)
        self.sizes: list[int] = []
        self.is_done = asyncio.Event()

    async def amend(self, records: Mapping[EntryId, Record]) -> None:
        await super().amend(records)
        self.sizes.append(len(records))
        if sum(self.sizes) == len(ROWS):
            self.is_done.set()


async def noted(interval_seconds: float) -> tuple[Upkeep, Amended]:
    upkeep, store = Upkeep(FakeClock(), Registry(), interval_seconds=interval_seconds), Amended()
    await store.add(ROWS)
    for each in ROWS:
        upkeep.note(store, each.entry.id, NOW)
    return upkeep, store


async def test_uses_are_written_in_small_pieces_by_themselves() -> None:
    upkeep, store = await noted(0.01)

    await upkeep.start()
    await asyncio.wait_for(store.is_done.wait(), PATIENCE_SECONDS)

    assert store.sizes == [16, 16, 8]
    await upkeep.stop()


async def test_who_stops_writes_what_waits() -> None:
    upkeep, store = await noted(3_600.0)
    await upkeep.start()

    await upkeep.stop()

    assert {each.entry.record.hits for each in store.rows.values()} == {1}
