"""Dynamic limits: amounts that are in force in place of those that rules say, and the port to where they are kept.

    operator ── put, clear ──▶ store (a change has the next version) ── read(after) ──▶ every replica

1. A dynamic limit belongs to one limit of one descriptor: domain, entries as they are counted, window and algorithm. Its
   name is all of that, so a rule that counts otherwise from now on has none.
2. Versions grow by one with every change of a store, whatever it changes. A replica that knows version `n` reads what
   changed after `n`, oldest first, in pages.
3. What was cleared is told too, as long as the store remembers it: `floor` is the last version of a clearing that it no
   longer does. Who knows less than that, or knows a store that was born another time, begins again with version 0.
4. A limit that has ended is told as cleared, under the version that put it: who slept through both its beginning and its end
   may know what was in force before.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ratelimit.descriptor import Entry
from ratelimit.limits import Limit

# Clearings that a store remembers: who was away for longer reads everything again.
CLEARED_MAX = 10_000

# Changes in one page: a script keeps Redis to itself while it writes them.
PAGE_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Place:
    """What a dynamic limit belongs to."""

    domain: str
    entries: tuple[Entry, ...]
    """As they are counted: a value that shares its threshold is its pattern."""
    window: str
    algorithm: str

    @classmethod
    def of(cls, domain: str, entries: Sequence[Entry], limit: Limit) -> Place:
        """Return the place of a rule's limit."""
        return cls(domain, tuple(entries), limit.span, limit.algorithm.value)

    @property
    def name(self) -> str:
        """Return the place as one text, as no other has it."""
        return json.dumps([self.domain, self.window, self.algorithm, *self.entries], separators=(",", ":"))

    @classmethod
    def read(cls, name: str) -> Place:
        """Return the place that has this name."""
        domain, window, algorithm, *entries = json.loads(name)
        return cls(domain, tuple((key, value) for key, value in entries), window, algorithm)


@dataclass(frozen=True, slots=True)
class DynamicLimit:
    """An amount in place of a rule's."""

    name: str
    """Of its place."""
    amount: int
    version: int
    ends_ms: int = 0
    """Unix time in milliseconds by the store's clock; 0: it has no end."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one place."""

    name: str
    version: int
    limit: DynamicLimit | None
    """None: it was cleared, or has ended."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some changes, oldest first, and what the store says of itself."""

    after: int
    """Version that was asked for."""
    born: str
    """When the store began to count versions; empty: it did not yet."""
    version: int
    """Of the last change."""
    floor: int
    now_ms: int
    """Unix time by the store's clock."""
    changes: Sequence[Change]

    @property
    def last(self) -> int:
        """Return the version up to which everything is told."""
        return self.changes[-1].version if self.changes else self.version


class VersionConflict(Exception):  # noqa: N818 - what became of the change
    """The limit has another version than the one that was expected."""

    def __init__(self, version: int) -> None:
        super().__init__(str(version))
        self.version = version
        """0: there is none."""


class LimitsFull(Exception):  # noqa: N818 - as above
    """The store has as many as it may."""


class DynamicLimitStore(Protocol):
    """Where dynamic limits are kept: memory or Redis, held to one contract by `tests/contract`.

    Every method may raise `StoreError`: `StoreTimeout` where the change may have been made. `deadline` is in steady
    seconds.
    """

    async def put(
        self, name: str, amount: int, *, ttl_ms: int, expected_version: int | None, deadline: float
    ) -> DynamicLimit:
        """Put an amount in force; `ttl_ms` 0 is without an end, `expected_version` 0 expects that there is none.

        Raises:
            VersionConflict: another change came first; nothing was changed.
            LimitsFull: there is no room for another.
        """

    async def clear(self, name: str, *, expected_version: int | None, deadline: float) -> int:
        """Have the rule's own amount in force again; return the version of the change, 0 where there was no such limit.

        Raises:
            VersionConflict: another change came first; nothing was changed.
        """

    async def read(self, after: int, *, most: int = PAGE_MAX, deadline: float) -> Page:
        """Return what changed after a version."""

    async def stop(self) -> None:
        """Let go of connections."""
