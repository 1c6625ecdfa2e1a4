"""Plans by the bytes of their requests: callers repeat themselves, so most messages are never parsed.

An entry belongs to one generation of rules: new rules empty the cache. It is bounded in entries
and in bytes; the least recently used leaves first. A message above `MESSAGE_BYTES_MAX` is planned
each time, so that no caller fills the cache with a few large ones.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from ratelimit.plan import Plan

MESSAGE_BYTES_MAX = 2_048

# What a plan costs beside its message: measured by tracemalloc over one- and two-descriptor requests.
PLAN_BYTES = 1_500


class Plans:
    """An LRU from message bytes to plan."""

    def __init__(self, *, entries_max: int, bytes_max: int) -> None:
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._plans: OrderedDict[bytes, Plan] = OrderedDict()
        self._bytes = 0
        self._generation = -1
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._plans)

    def get(self, message: bytes, generation: int, make: Callable[[bytes], Plan]) -> Plan:
        """Return the plan of `message`, made by `make` if it is not known under these rules."""
        if generation != self._generation:
            self._generation, self._bytes = generation, 0
            self._plans.clear()
        plan = self._plans.get(message)
        if plan is not None:
            self.hits += 1
            self._plans.move_to_end(message)
            return plan
        self.misses += 1
        plan = make(message)
        if len(message) <= MESSAGE_BYTES_MAX:
            self._keep(message, plan)
        return plan

    def _keep(self, message: bytes, plan: Plan) -> None:
        self._plans[message] = plan
        self._bytes += len(message) + PLAN_BYTES
        while len(self._plans) > self._entries_max or self._bytes > self._bytes_max:
            oldest, _ = self._plans.popitem(last=False)
            self._bytes -= len(oldest) + PLAN_BYTES
