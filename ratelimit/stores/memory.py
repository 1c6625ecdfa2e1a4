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
from heapq import heappop, heappush
from math import ceil

from ratelimit.store import COUNT_MAX, Charge, Count, Ledger, Outcome, Policy
from serving.metrics import Registry

_log = logging.getLogger(__name__)

# Names looked at for each charge, more than the one that it can make, and so what is due never
# grows behind; and so few that a charge stays under a microsecond or two.
_SWEEP_PER_CHARGE = 2

# Longer than any key of a sane rule; a digest takes 64 characters.
_KEY_CHARACTERS_MAX = 256

_Counter = list[int]  # [count, expires]


class MemoryStore:
    """Counts in a dictionary."""

    def __init__(self, counters_max: int, registry: Registry | None = None) -> None:
        self._counters_max = counters_max
        self._counters: dict[str, _Counter] = {}
        self._buckets: dict[int, list[str]] = {}
        self._seconds: list[int] = []
        self._forget: list[Callable[[str], None]] = []
        registry = registry or Registry()
        self._dropped = registry.counter("ratelimit.memory.counters_dropped")
        registry.gauge("ratelimit.memory.counters", lambda: len(self._counters))

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


def _digest(key: str) -> str:
    return blake2b(key.encode(errors="surrogatepass"), digest_size=32).hexdigest()
