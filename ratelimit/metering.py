"""Whether callers meter as they should: the two known faults of gateways, counted.

    check (0 hits, passed) ──▶ fresh ── CHARGE_EXPECTED_WITHIN ──▶ stale ── once more ──▶ checks_without_charge
                                 ▲                                   ▲
    charge (hits above 0) ───────┴── takes one off, stale first ─────┘

1. A gateway that counts tokens asks twice on one counter: 0 hits at the request, the tokens at its end. A check
   that nothing followed is a request that nobody paid for. It is counted between one and two waits later.
2. A charge of exactly one on a counter that was checked is what a gateway sends that lost the number of tokens:
   `charges_of_one`.
3. A request that was denied owes nothing. One that failed and is charged 0 cannot be told from a check.
4. Counters watched are bounded; where there is no room, a counter is not watched.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from ratelimit.accounting import Stats
from ratelimit.plan import Plan, Step

# Looking after the oldest counters is part of a call: few at a time, and twice as many as one call can add.
_TURNED_AT_ONCE = 64


@dataclass(slots=True)
class _Watched:
    """Checks of one counter that no charge followed yet."""

    stats_key: str
    turns_at: float
    fresh: int = 0
    stale: int = 0


class Metering:
    """Watches counters that are checked with 0 hits."""

    def __init__(self, stats: Stats, *, wait_seconds: float, counters_max: int) -> None:
        self._stats = stats
        self._wait_seconds = wait_seconds
        self._counters_max = counters_max if wait_seconds > 0 else 0
        # In the order in which they turn: each turns one wait after it was put last.
        self._counters: OrderedDict[str, _Watched] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counters)

    def note(self, plan: Plan, hits: int, now: float, *, is_over: bool) -> None:
        """Take note of a request that was answered; `hits` as in `Ask`, `now` in steady seconds."""
        for position, step in enumerate(plan.steps):
            spent = hits if step.hits is None else step.hits
            if spent == 0 and not is_over:
                self._check(step, plan.stems[position], now)
            elif spent > 0 and self._counters and not step.is_refund:
                self._charge(step, plan.stems[position], spent)

    def turn(self, now: float) -> None:
        """Count the checks whose time is over."""
        for _ in range(_TURNED_AT_ONCE):
            stem, watched = next(iter(self._counters.items()), ("", None))
            if watched is None or watched.turns_at > now:
                return
            if watched.stale:
                self._stats[watched.stats_key].checks_without_charge += watched.stale
            if not watched.fresh and not watched.stale:
                del self._counters[stem]
                continue
            watched.stale, watched.fresh = watched.fresh, 0
            watched.turns_at = now + self._wait_seconds
            self._counters.move_to_end(stem)

    def _check(self, step: Step, stem: str, now: float) -> None:
        if step.rule is None or step.rule.limit is None:
            return
        watched = self._counters.get(stem)
        if watched is None:
            if len(self._counters) >= self._counters_max:
                return
            watched = self._counters[stem] = _Watched(step.stats_key, now + self._wait_seconds)
        watched.fresh += 1

    def _charge(self, step: Step, stem: str, spent: int) -> None:
        watched = self._counters.get(stem)
        if watched is None:
            return
        if watched.stale:
            watched.stale -= 1
        elif watched.fresh:
            watched.fresh -= 1
        if spent == 1:
            self._stats[step.stats_key].charges_of_one += 1
