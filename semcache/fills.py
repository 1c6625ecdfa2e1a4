"""One fetch for all who ask the same, or nearly the same.

    miss ─▶ take ─┬─ held, and nothing near is being fetched ─▶ fetch: this caller
                  ├─ held, but a near prompt was there first ─▶ give it back, wait for that one ─┐
                  └─ somebody else holds it ──────────────────▶ wait ────────────────────────────┴─▶ look up again

1. The group of a lease is the scope and the key is the entry's id: who shares an answer shares a fetch, nobody else.
2. A lease's note has the prompt and its embedding, so that near prompts are known before there is an entry. Of two that
   come together the later one sees the earlier, and never the other way round: nobody waits in a circle.
3. Leases are an economy: when they cannot be had, each caller fetches for himself.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from semcache.entry import Embedding, EntryId, ScopeId
from semcache.errors import LeaseError
from semcache.invalidation import Moment
from semcache.lease import Leases, Pending
from semcache.tickets import Held, read_lease, write
from serving.metrics import Registry

_LENGTHS = struct.Struct("<II")


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to fetch."""

    scope: ScopeId
    entry: EntryId
    moment: Moment
    prompt: str = field(repr=False)
    history: str = field(repr=False)
    embedding: Embedding | None = field(repr=False)
    """None where only the same prompt will do."""

    def note(self) -> bytes:
        """Return what others may compare with; empty where they may not."""
        if self.embedding is None:
            return b""
        prompt, history = self.prompt.encode(), self.history.encode()
        return _LENGTHS.pack(len(prompt), len(history)) + prompt + history + self.embedding.astype("<f4").tobytes()


@dataclass(frozen=True, slots=True)
class Other:
    """What somebody else is fetching, as his note says."""

    prompt: str = field(repr=False)
    history: str = field(repr=False)
    similarity: float


IsNear = Callable[[Other], bool]


class Fills:
    """Takes leases, and compares with those of others."""

    def __init__(self, leases: Leases, registry: Registry) -> None:
        self._leases = leases
        self._granted = registry.counter("weir.semcache.leases.granted")
        self._joined = registry.counter("weir.semcache.leases.joined")
        self._failed = registry.counter("weir.semcache.leases.failed")

    async def take(self, wish: Wish, is_near: IsNear, *, ttl_seconds: float, waits: bool) -> tuple[str, EntryId | None]:
        """Return a lease's id, or the key to wait for; neither where leases cannot be had."""
        try:
            grant = await self._leases.take(wish.scope, wish.entry, wish.note(), ttl_seconds)
            if not grant.is_held:
                return "", wish.entry
            near = self._near(wish, is_near, grant.others) if waits else None
            if near is not None:
                self._joined.add()
                await self._leases.release(wish.scope, wish.entry, grant.token)
                return "", near
        except LeaseError:
            self._failed.add()
            return "", None
        self._granted.add()
        return write(Held(wish.scope, wish.entry, grant.token, wish.moment)), None

    async def wait(self, scope: ScopeId, key: EntryId, timeout_seconds: float) -> bool:
        """Wait until a fetch has ended, however; return False if it did not in time."""
        try:
            return await self._leases.wait(scope, key, timeout_seconds)
        except LeaseError:
            self._failed.add()
            return False

    async def release(self, lease_id: str) -> bool:
        """Give a lease back; return False if it was not held any more, or never."""
        held = read_lease(lease_id)
        if held is None:
            return False
        try:
            return await self._leases.release(held.group, held.key, held.token)
        except LeaseError:
            self._failed.add()
            return False

    async def release_all(self, lease_ids: list[str]) -> None:
        """Give leases back."""
        await asyncio.gather(*(self.release(each) for each in lease_ids if each))

    def _near(self, wish: Wish, is_near: IsNear, others: Sequence[Pending]) -> EntryId | None:
        if wish.embedding is None:
            return None
        for pending in others:
            other = read_note(pending.note, wish.embedding)
            if other is not None and is_near(other):
                return EntryId(pending.key)
        return None


def read_note(note: bytes, embedding: Embedding) -> Other | None:
    """Return what a note says, compared with an embedding; None where it has none, or one of another model."""
    if len(note) < _LENGTHS.size:
        return None
    prompt_end, history_bytes = _LENGTHS.unpack_from(note)
    prompt_end += _LENGTHS.size
    history_end = prompt_end + history_bytes
    if len(note) - history_end != 4 * len(embedding):
        return None
    try:
        prompt, history = note[_LENGTHS.size : prompt_end].decode(), note[prompt_end:history_end].decode()
    except UnicodeDecodeError:
        return None
    similarity = float(np.dot(np.frombuffer(note, "<f4", offset=history_end), embedding))
    return Other(prompt, history, min(1.0, similarity))
