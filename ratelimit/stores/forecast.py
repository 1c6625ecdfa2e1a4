"""What a look says that a ledger will find, where no script can look and write at once.

    look (GET of every counter in question) ──▶ forecast ──▶ write

1. Needed for STOP over several places (slots of a cluster, the store for limits per second), and
   without scripts for STOP and refunds. It costs a second round trip.
2. Between look and write others may write, as with the reference: STOP may then charge a counter
   it would have spared, never the other way round for the one that is over.
3. The ledgers of one batch see each other: what one is going to write, the next one finds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ratelimit.errors import StoreError, StoreRefused
from ratelimit.store import Charge, Ledger, Policy
from ratelimit.stores.redis_errors import error_of
from serving.redis_link import Reply


class Forecast:
    """Counts as they were looked up, and as the batch will have changed them."""

    def __init__(self) -> None:
        self._counts: dict[str, int | StoreError] = {}

    def learn(self, key: str, reply: Reply) -> None:
        """Take the reply to a GET."""
        error = error_of(reply)
        if error is not None:
            self._counts[key] = error
            return
        try:
            self._counts[key] = int(reply or 0)
        except (TypeError, ValueError):
            self._counts[key] = StoreRefused("ERR value is not an integer or out of range")

    def settle(self, ledger: Ledger, is_plain: Callable[[Charge], bool]) -> Ledger | StoreError:
        """Return the ledger with nothing left to decide: under BURN; where `is_plain`, refunds are what may be taken.

        A counter that was not looked up counts as empty.
        """
        for charge in ledger.charges:
            count = self._counts.get(charge.key)
            if isinstance(count, StoreError):
                return count
        held = self._held_back(ledger.charges) if ledger.policy is Policy.STOP else frozenset()
        charges = []
        for position, charge in enumerate(ledger.charges):
            hits = 0 if position in held else charge.hits
            taken = min(hits, max(0, self._count(charge.key))) if charge.is_refund else -hits
            self._counts[charge.key] = self._count(charge.key) - taken
            charges.append(replace(charge, hits=taken if charge.is_refund and is_plain(charge) else hits))
        return Ledger(charges, ledger.deadline)

    def expect(self, ledger: Ledger) -> None:
        """Take note of a ledger that needs no look: all of it will be written."""
        for charge in ledger.charges:
            count = self._count(charge.key)
            change = -min(charge.hits, max(0, count)) if charge.is_refund else charge.hits
            if not isinstance(self._counts.get(charge.key), StoreError):
                self._counts[charge.key] = count + change

    def _held_back(self, charges: Sequence[Charge]) -> frozenset[int]:
        """Return the positions of the charges that are left out because another would go over."""
        refunded: dict[str, int] = {}
        over: set[int] = set()
        stays: set[int] = set()
        for position, charge in enumerate(charges):
            count = refunded.get(charge.key, self._count(charge.key))
            if charge.is_refund:
                refunded[charge.key] = count - min(charge.hits, max(0, count))
                stays.add(position)
            elif count + charge.hits > charge.limit:
                over.add(position)
        return frozenset(range(len(charges))) - over - stays if over else frozenset()

    def _count(self, key: str) -> int:
        count = self._counts.get(key, 0)
        return count if isinstance(count, int) else 0
