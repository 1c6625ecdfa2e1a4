"""What feedback taught, told to all replicas and kept over restarts: a note in the store for each gate.

    start, every interval, stop:     read the notes ──▶ join each ──▶ write those that lacked something

1. Joining counts nothing twice and knows no order (`evidence.py`), so replicas may write over each other: who finds that
   something of his is missing writes it again, one interval later.
2. A store that fails, or a note that cannot be read, costs the others nothing and is told in the log.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from semcache.errors import StoreError
from semcache.judging import Judges
from semcache.store import EntryStores

log = logging.getLogger(__name__)

TOPIC = "gates"


class Learned:
    """Reads and writes the notes."""

    def __init__(self, judges: Judges, stores: EntryStores, interval_seconds: float) -> None:
        self._judges = judges
        self._stores = stores
        self._interval_seconds = interval_seconds
        self._known: dict[str, str] = {}
        self._told: dict[str, tuple[str | None, int]] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take up what was learned before, and go on exchanging."""
        await self.exchange()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Write what was learned."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            await self.exchange()

    async def exchange(self) -> None:
        """Join what others have learned, and have them know what this one has."""
        try:
            notes = await self._stores.notes(TOPIC)
            for name, text in notes.items():
                if text != self._known.get(name):
                    self._absorb(name, text)
                    await asyncio.sleep(0)  # lookups come between
            for name, version in self._judges.versions().items():
                await self._tell(name, version, notes.get(name))
        except StoreError as error:
            log.warning("what was learned from feedback is not exchanged: %s", error)

    async def _tell(self, name: str, version: int, noted: str | None) -> None:
        if (noted, version) == self._told.get(name):
            return
        text = json.dumps(self._judges.state(name), separators=(",", ":"))
        if text != noted:
            await self._stores.note(TOPIC, name, text)
        self._known[name], self._told[name] = text, (text, version)
        await asyncio.sleep(0)  # as above

    def _absorb(self, name: str, text: str) -> None:
        try:
            self._judges.absorb(name, _read(text))
        except ValueError as error:
            log.warning("%s: what was learned cannot be read and is learned anew: %s", name, error)
        self._known[name] = text

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_seconds)
            await self.exchange()


def _read(text: str) -> dict[str, Any]:
    state = json.loads(text)
    if isinstance(state, dict):
        return state
    raise ValueError("no JSON object")
