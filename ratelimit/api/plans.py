"""Plans by the shapes of their requests: callers repeat themselves, so most messages are never parsed.

An entry belongs to one generation of rules: new rules empty the cache. It is bounded in entries
and in bytes; the least recently used leaves first. A message above `MESSAGE_BYTES_MAX` is planned
each time, so that no caller fills the cache with a few large ones.
"""

from __future__ import annotations

from collections import OrderedDict

from ratelimit.plan import Plan
from serving.metrics import Registry

MESSAGE_BYTES_MAX = 2_048

# What a plan costs beside its message, by tracemalloc over requests of one and two descriptors, where it shares nothing
# with others. Most do, and take a third of it.
PLAN_BYTES = 1_500


class Plans:
    """An LRU from shape to plan."""

    def __init__(self, registry: Registry, *, entries_max: int, bytes_max: int) -> None:
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._plans: OrderedDict[bytes, Plan] = OrderedDict()
        self._bytes = 0
        self._generation = -1
        self._hits = registry.counter("weir.plans.hits")
        self._misses = registry.counter("weir.plans.misses")
        registry.gauge("weir.plans.entries", lambda: len(self._plans))
        registry.gauge("weir.plans.bytes", lambda: self._bytes)

    def __len__(self) -> int:
        return len(self._plans)

    def renew(self, generation: int) -> bool:
        """Forget every plan, if they were made under other rules; return whether they were."""
        if generation == self._generation:
            return False
        self._generation, self._bytes = generation, 0
        self._plans.clear()
        return True

    def get(self, key: bytes) -> Plan | None:
        """Return the plan of a shape, if it is known."""
        plan = self._plans.get(key)
        if plan is not None:
            self._hits.value += 1
            self._plans.move_to_end(key)
        return plan

    def count_hit(self) -> None:
        """Count a plan that was known without a look here."""
        self._hits.value += 1

    def keep(self, key: bytes | None, plan: Plan) -> None:
        """Remember a plan that had to be made; where it has no key it is only counted."""
        self._misses.value += 1
        if key is None:
            return
        self._plans[key] = plan
        self._bytes += len(key) + PLAN_BYTES
        while len(self._plans) > self._entries_max or self._bytes > self._bytes_max:
            oldest, _ = self._plans.popitem(last=False)
            self._bytes -= len(oldest) + PLAN_BYTES
