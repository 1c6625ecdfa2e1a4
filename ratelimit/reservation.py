"""The life of a hold, and the ids that are remembered.

    HELD ── settle ──▶ known ── (memory ends) ──▶ forgotten        anonymous holds have no id: they are
     ├──── release ──▶ known                                       settled oldest first and never remembered
     └──── (ttl) ────▶ known

Rule: all three ends give the hold back exactly once. Everything that knows these states lives here; the Redis script
repeats them and `tests/contract` holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from heapq import heappop, heappush

from ratelimit.draw import SWEEP_MAX


@dataclass(frozen=True, slots=True)
class Hold:
    """Hits set aside."""

    amount: int
    start: int
    """Start of the window that admitted it; 0 for algorithms without one."""
    due_ms: int
    """When it expires."""


class Holds:
    """The holds of one counter, and the ids it remembers."""

    def __init__(self) -> None:
        self._known: dict[str, Hold | int] = {}
        """By name: a hold, or when the name is forgotten (ms)."""
        self._anonymous: dict[str, None] = {}
        """Names of those without an id, oldest first."""
        self._totals: dict[int, int] = {}
        """By window."""
        self._dues: list[tuple[int, str]] = []
        """When to look at a name again; one that changed meanwhile has a later entry too."""
        self._number = 0

    def __len__(self) -> int:
        return len(self._known)

    def total(self, start: int) -> int:
        """Return what is held in a window."""
        return self._totals.get(start, 0)

    def is_known(self, request_id: str) -> bool:
        """Return whether this id was ever held, as far as remembered."""
        return f"i{request_id}" in self._known

    def find(self, request_id: str, ended: AbstractSet[str]) -> tuple[str, Hold] | None:
        """Return the hold of an id, or the oldest without one, and its name; those in `ended` are not there."""
        names = [f"i{request_id}"] if request_id else self._anonymous
        for name in names:
            hold = self._known.get(name)
            if isinstance(hold, Hold) and name not in ended:
                return name, hold
        return None

    def outstanding(self, now_ms: int) -> Iterator[tuple[str, Hold]]:
        """Yield names and holds that have not ended: `i` and the id, or `a` and a number."""
        for name, hold in self._known.items():
            if isinstance(hold, Hold) and hold.due_ms > now_ms:
                yield name, hold

    def add(self, request_id: str, hold: Hold) -> None:
        """Set hits aside."""
        self._number += 1
        name = f"i{request_id}" if request_id else f"a{self._number}"
        if not request_id:
            self._anonymous[name] = None
        self._known[name] = hold
        self._totals[hold.start] = self._totals.get(hold.start, 0) + hold.amount
        heappush(self._dues, (hold.due_ms, name))

    def end(self, name: str, forget_at_ms: int) -> None:
        """Give a hold back; its id is remembered until `forget_at_ms`."""
        hold = self._known[name]
        if not isinstance(hold, Hold):
            return
        # Holds of nothing are holds, too: several may have nothing to give back.
        left = self.total(hold.start) - hold.amount
        if left:
            self._totals[hold.start] = left
        else:
            self._totals.pop(hold.start, None)
        if name in self._anonymous:
            del self._anonymous[name], self._known[name]
        else:
            self._known[name] = forget_at_ms
            heappush(self._dues, (forget_at_ms, name))

    def sweep(self, now_ms: int, memory_ms: int) -> None:
        """End what is due: holds are given back, remembered ids are forgotten."""
        for _ in range(SWEEP_MAX):
            if not self._dues or self._dues[0][0] > now_ms:
                return
            _, name = heappop(self._dues)
            match self._known.get(name):
                case Hold(due_ms=due_ms) if due_ms <= now_ms:
                    self.end(name, due_ms + memory_ms)
                case int(forget_at_ms) if forget_at_ms <= now_ms:
                    del self._known[name]
