"""Counters in this process: the embedded default, and the twin that Redis is held to.

    counters: key ─▶ [count, expires]        buckets: expires ─▶ keys        seconds: heap of expires

1. A counter is looked up by its key and dies by its bucket: the keys that expire in the same
   second. A counter that was born again leaves its old name behind in a bucket that is due; the
   second it carries tells the two apart.
2. Room is made a little at every charge, in proportion to what the charge itself makes: nobody
   ever waits for a sweep over a million counters.
3. A long key is kept as its digest: callers choose values, and a bound on counters alone would let
   a thousand large ones take all memory.
4. Where the counters are at their bound, the ones that expire first leave. What was counted in
   one that was still alive is lost, so it is told: in a counter, and once in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from hashlib import blake2b
from heapq import heappop, heappush, nsmallest
from math import ceil

from ratelimit.admission import Admitter, Counter
from ratelimit.draw import Algorithm, Draw
from ratelimit.errors import StoreError
from ratelimit.store import (
    COUNT_MAX,
    HOLDS_MAX,
    Admission,
    AdmissionOutcome,
    Charge,
    Count,
    HoldsPage,
    Ledger,
    Outcome,
    Outstanding,
    Policy,
)
from ratelimit.stores.memory_counters import MemoryCounters
from serving.metrics import Registry

_log = logging.getLogger(__name__)

# Names looked at for each charge, more than the one that it can make, and so what is due never
# grows behind; and so few that a charge stays under a microsecond or two.
_SWEEP_PER_CHARGE = 2

# Longer than any key of a sane rule; a digest takes 64 characters.
_KEY_CHARACTERS_MAX = 256

_Counter = list[int]  # [count, expires]
_Apply = Callable[[Sequence[Charge], Sequence[bool], float], object]


class MemoryStore:
    """Counts in a dictionary."""

    def __init__(self, counters_max: int, registry: Registry | None = None, *, holds_max: int = HOLDS_MAX) -> None:
        self._counters_max = counters_max
        self._counters: dict[str, _Counter] = {}
        self._buckets: dict[int, list[str]] = {}
        self._seconds: list[int] = []
        self._forget: list[Callable[[str], None]] = []
        registry = registry or Registry()
        self._dropped = registry.counter("ratelimit.memory.counters_dropped")
        registry.gauge("ratelimit.memory.counters", lambda: len(self._counters) + len(self._own))
        self._own = MemoryCounters(counters_max, holds_max, self._tell_dropped)
        self._holds_max = holds_max

    async def start(self) -> None:
        """Do nothing: there is nobody to reach."""

    async def stop(self) -> None:
        """Do nothing: the counters go with the process."""

    @property
    def is_healthy(self) -> bool:
        """True: it cannot be away."""
        return True

    def on_refund(self, forget: Callable[[str], None]) -> None:
        """Have `forget(key)` called before the charge that refunds `key` is answered."""
        self._forget.append(forget)

    async def charge(self, ledgers: Sequence[Ledger], now: float) -> Sequence[Outcome]:
        """Apply every ledger; nothing here waits, so deadlines do not matter."""
        outcomes: list[Outcome] = []
        for ledger in ledgers:
            charges = ledger.charges
            held = self._stopped(charges, now) if ledger.policy is Policy.STOP else ()
            outcomes.append(self._apply(charges, held, now))
            if self._seconds and self._seconds[0] <= now:
                self._sweep(now, _SWEEP_PER_CHARGE * len(charges))
        return outcomes

    async def admit(
        self, ledgers: Sequence[Ledger], admissions: Sequence[Admission], now: float
    ) -> tuple[Sequence[Outcome], Sequence[AdmissionOutcome]]:
        """Apply every ledger, then every admission, by the caller's clock."""
        outcomes = await self.charge(ledgers, now) if ledgers else ()
        now_ms = int(now * 1000)
        admitter = Admitter(lambda draw: self._find(draw, now), holds_max=self._holds_max)
        return outcomes, [
            admitter.admit(admission.draws, now_ms, is_kept=admission.is_kept) for admission in admissions
        ]

    async def holds(self, draw: Draw, *, cursor: str, most: int, now: float, deadline: float) -> HoldsPage | StoreError:
        """Return holds of a counter, those that end first before others."""
        del deadline  # nothing here waits
        counter = self._own.known(draw.stem)
        named = counter.holds.outstanding(int(now * 1000)) if counter is not None else ()
        # By when they end, and how many of that moment were told: an id may be a secret, and no part of a cursor.
        begin_ms, told = map(int, cursor.split(":")) if cursor else (0, 0)
        later = ((hold.due_ms, name, hold.amount) for name, hold in named if hold.due_ms >= begin_ms)
        found = nsmallest(told + most, later)
        holds = [
            Outstanding(name[1:] if name[0] == "i" else "", amount, due_ms) for due_ms, name, amount in found[told:]
        ]
        if len(holds) < most:
            return HoldsPage(holds, "")
        last_ms = holds[-1].due_ms
        return HoldsPage(holds, f"{last_ms}:{sum(due_ms == last_ms for due_ms, _, _ in found)}")

    def _find(self, draw: Draw, now: float) -> Counter:
        terms = draw.terms
        if terms.algorithm is not Algorithm.REFERENCE:
            return self._own.find(draw, int(now * 1000))
        meter = _Reference(draw, now, self._read, self._apply)
        if not (terms.hold_ms or terms.remember_ms):
            return Counter(meter, 0)
        # Only what is beside it is kept here: what was spent stays where charges without holds count too.
        counter = self._own.find(draw, int(now * 1000))
        counter.meter = meter
        return counter

    def _read(self, key: str, now: float) -> int:
        counter = self._counters.get(key if len(key) <= _KEY_CHARACTERS_MAX else _digest(key))
        return counter[0] if counter is not None and counter[1] > now else 0

    # Hot, so plainer than short: calls of min and max alone are a third of it.
    def _apply(self, charges: Sequence[Charge], held: Sequence[bool], now: float) -> list[Count]:
        counters = self._counters
        counts: list[Count] = []
        for charge in charges:
            key = charge.key
            if len(key) > _KEY_CHARACTERS_MAX:
                key = _digest(key)
            counter = counters.get(key)
            if counter is None or counter[1] <= now:
                if charge.is_refund:
                    counts.append((0, 0))
                    continue
                counter = self._bear(key, ceil(now) + charge.ttl_seconds, now)
            before = after = counter[0]
            if charge.is_refund:
                after = max(0, before - charge.hits)
                self._announce(charge.key)
            elif not held or not held[len(counts)]:
                after += charge.hits
                if after > COUNT_MAX:  # noqa: PLR1730 - a call of min costs a tenth of the charge
                    after = COUNT_MAX
            counter[0] = after
            counts.append((before, after))
        return counts

    def _stopped(self, charges: Sequence[Charge], now: float) -> Sequence[bool]:
        """Look before anything is written: which charges are held back because another goes over."""
        refunded: dict[str, int] = {}
        is_over: list[bool] = []
        for charge in charges:
            key = charge.key if len(charge.key) <= _KEY_CHARACTERS_MAX else _digest(charge.key)
            counter = self._counters.get(key)
            count = refunded.get(key, counter[0] if counter is not None and counter[1] > now else 0)
            if charge.is_refund:
                refunded[key] = max(0, count - charge.hits)
            is_over.append(not charge.is_refund and count + charge.hits > charge.limit)
        return [not over for over in is_over] if any(is_over) else ()

    def _bear(self, key: str, expires: int, now: float) -> _Counter:
        while len(self._counters) >= self._counters_max and key not in self._counters:
            self._drop_first(now)
        counter = self._counters[key] = [0, expires]
        bucket = self._buckets.get(expires)
        if bucket is None:
            bucket = self._buckets[expires] = []
            heappush(self._seconds, expires)
        bucket.append(key)
        return counter

    def _sweep(self, now: float, names: int) -> None:
        seconds = self._seconds
        while names > 0 and seconds and seconds[0] <= now:
            self._drop_first(now)
            names -= 1

    def _drop_first(self, now: float) -> None:
        expires = self._seconds[0]
        bucket = self._buckets[expires]
        key = bucket.pop()
        if not bucket:
            del self._buckets[expires]
            heappop(self._seconds)
        counter = self._counters.get(key)
        if counter is None or counter[1] != expires:
            return
        del self._counters[key]
        if expires > now:
            self._tell_dropped()

    def _tell_dropped(self) -> None:
        if self._dropped.value == 0:
            _log.warning(
                "more counters than MEMORY_COUNTERS_MAX=%d: those that expire first are dropped, with their counts",
                self._counters_max,
            )
        self._dropped.add()

    def _announce(self, key: str) -> None:
        for forget in self._forget:
            forget(key)


class _Reference:
    """A plain counter as a meter, so that it can be one of those that are charged all or not at all."""

    def __init__(self, draw: Draw, now: float, read: Callable[[str, float], int], apply: _Apply) -> None:
        self._draw = draw
        self._now = now
        self._read = read
        self._apply = apply

    def spent(self, _start: int, _now_ms: int) -> float:
        """Return the count."""
        return self._read(self._draw.stem, self._now)

    def add(self, draw: Draw, _start: int, hits: int, _now_ms: int) -> None:
        """Charge it."""
        self._apply([Charge(draw.stem, hits, 0, draw.end)], (), self._now)

    def take(self, _start: int, hits: int, _now_ms: int) -> None:
        """Refund it."""
        self._apply([Charge(self._draw.stem, hits, 0, 0, is_refund=True)], (), self._now)

    def reset_ms(self, _draw: Draw, _excess: float, _now_ms: int) -> int:
        """Return 0: its window is in its key, which callers know better."""
        return 0


def _digest(key: str) -> str:
    return blake2b(key.encode(errors="surrogatepass"), digest_size=32).hexdigest()
