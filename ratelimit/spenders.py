"""Who spends most, in a table of fixed size.

    add ──▶ current ── every interval ──▶ last ──▶ forgotten        top = current + last

1. A newcomer begins with the floor: as much as anybody who was dropped may have had. So what is told is never too little,
   and whoever spent more than the floor is in the table (space-saving, by batches).
2. At twice its size the table drops its lower half at once, which costs each newcomer next to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import nlargest
from operator import attrgetter

from ratelimit.descriptor import Entry
from ratelimit.draw import Standings
from ratelimit.plan import Plan


@dataclass(slots=True)
class Spender:
    """One descriptor, and what it spent at most."""

    domain: str
    entries: tuple[Entry, ...]
    rule: str
    spent: int
    error: int
    """How much of that may be another's."""


class _Table:
    """One interval."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.floor = 0
        self.spenders: dict[str, Spender] = {}


class Spenders:
    """Adds up what counters were charged; times are steady seconds."""

    def __init__(self, size: int, interval_seconds: float) -> None:
        self._size = size
        self._interval_seconds = interval_seconds
        self._current = _Table(0.0)
        self._last = _Table(0.0)
        self._turns_at = 0.0

    def turn(self, now: float) -> None:
        """Begin a new interval, if it is time."""
        if now >= self._turns_at:
            # Where nobody spent for long, the last interval is over, too.
            is_idle = now >= self._turns_at + self._interval_seconds
            self._last = _Table(now) if is_idle else self._current
            self._current = _Table(now)
            self._turns_at = now + self._interval_seconds

    def add(self, plan: Plan, position: int, hits: int) -> None:
        """Add what one descriptor of a request spent."""
        table, step, stem = self._current, plan.steps[position], plan.stems[position]
        spender = table.spenders.get(stem)
        if spender is None:
            entries, rule = plan.request.descriptors[position].entries, step.rule.path if step.rule else ""
            spender = Spender(plan.request.domain, entries, rule, table.floor, table.floor)
            table.spenders[stem] = spender
        spender.spent += hits
        if len(table.spenders) > 2 * self._size:
            self._purge(table)

    def add_drawn(self, plan: Plan, standings: Standings) -> None:
        """Add what each descriptor of a request spent on counters of our own modes: the most of those of its limits."""
        found = iter(standings)
        for position, step in enumerate(plan.steps):
            spent = max((one.after - one.before for one in (next(found) for _ in step.countings)), default=0)
            if spent > 0:
                self.add(plan, position, spent)

    def _purge(self, table: _Table) -> None:
        ordered = sorted(table.spenders.items(), key=lambda item: item[1].spent, reverse=True)
        table.spenders = dict(ordered[: self._size])
        table.floor = max(table.floor, ordered[self._size][1].spent)

    def top(self, count: int, now: float, domain: str = "") -> tuple[list[Spender], float]:
        """Return who spent most, and over how many seconds."""
        self.turn(now)
        stems = {**self._last.spenders, **self._current.spenders}
        both = [self._sum(stem) for stem, each in stems.items() if not domain or each.domain == domain]
        return nlargest(count, both, key=attrgetter("spent")), now - self._last.since

    def _sum(self, stem: str) -> Spender:
        found = [table.spenders.get(stem) for table in (self._current, self._last)]
        known = [each for each in found if each is not None]
        one = known[0]
        return Spender(
            one.domain, one.entries, one.rule, sum(each.spent for each in known), sum(each.error for each in known)
        )
