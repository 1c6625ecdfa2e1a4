"""A bounded queue that is fair between its producers.

    producer a ── [a1 a2 a3 a4] ─┐
    producer b ── [b1] ──────────┼─ take ──▶ a1 b1 c1 a2 c2 a3 …
    producer c ── [c1 c2] ───────┘

1. Producers take turns; what one producer put stays in order.
2. At the bound the producer that waits with most loses its newest item: who floods pays, and a
   newcomer gets in. The one who comes with as many as the longest has is turned away itself.
3. Every operation but losing is O(1), so that removing what was cancelled costs nothing either;
   losing looks at every producer, at most as many as there are items.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)


class FairQueue(Generic[Item]):
    """Items of many producers, each item once."""

    def __init__(self, items_max: int) -> None:
        self._items_max = items_max
        self._length = 0
        # Ordered dictionaries and not plain ones: taking the first of a plain one is slow once many before it went.
        self._lines: OrderedDict[str, OrderedDict[Item, None]] = OrderedDict()

    def __len__(self) -> int:
        return self._length

    def put(self, producer: str, item: Item) -> Item | None:
        """Add an item and return the one that had to leave for it, which may be itself."""
        loser: Item | None = None
        if self._length >= self._items_max:
            longest = max(self._lines, key=lambda name: len(self._lines[name]), default=producer)
            if len(self._lines.get(producer, ())) >= len(self._lines.get(longest, ())):
                return item
            loser, _ = self._lines[longest].popitem()
            self._shorten(longest)
        line = self._lines.get(producer)
        if line is None:
            line = self._lines[producer] = OrderedDict()
        line[item] = None
        self._length += 1
        return loser

    def take(self) -> Item:
        """Remove and return the next item.

        Raises:
            KeyError: there is none.
        """
        producer, line = self._lines.popitem(last=False)
        item, _ = line.popitem(last=False)
        self._length -= 1
        if line:
            self._lines[producer] = line
        return item

    def take_all(self) -> list[Item]:
        """Remove and return every item, one producer's after another's: who takes all need not take turns."""
        items = [item for line in self._lines.values() for item in line]
        self._lines.clear()
        self._length = 0
        return items

    def remove(self, producer: str, item: Item) -> None:
        """Take an item out of turn; nothing happens where it has left already."""
        line = self._lines.get(producer)
        if line is not None and item in line:
            del line[item]
            self._shorten(producer)

    def _shorten(self, producer: str) -> None:
        self._length -= 1
        if not self._lines[producer]:
            del self._lines[producer]
