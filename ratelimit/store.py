"""The port to the counters: one charge of many, in one round trip.

    Ledger (one RPC) = charges + policy         Store.charge([ledger, ledger, …]) → [outcome, …]

1. Ledgers are independent and are applied in order: what one writes, the next one sees. The
   charges of a ledger are applied in order too, also on one and the same key.
2. An outcome is a tuple of counts, one per charge, or the error that kept *this* ledger from
   being applied. One bad key fails one ledger.
3. All ledgers go out in one write and are answered together (in a cluster: one write per node).
4. Ledgers of our own modes (`Admission`) go with the others in the same round trip, as a group behind them.
5. Counts saturate at `COUNT_MAX`: a counter at the end of its range denies, it does not fail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeAlias

from ratelimit.draw import Draw, Standings
from ratelimit.errors import StoreError

# Redis scripts count in doubles: above this they are no longer exact. Hits above it are cut to it, which is
# still more than any limit: limits stop here too.
COUNT_MAX = 2**53 - 1

# Holds that one counter may have at a time, and charged ids that it remembers.
HOLDS_MAX = 100_000


class Policy(Enum):
    """What becomes of a ledger in which some charge goes over its limit."""

    BURN = "burn"
    """All are added, denied ones too: the reference's way."""
    STOP = "stop"
    """If any would go over, those are added and the others are not: STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT."""


@dataclass(slots=True)
class Charge:
    """Hits for one counter. `limit` matters to STOP only."""

    key: str
    hits: int
    """0…COUNT_MAX; 0 looks, and makes the counter if there is none."""
    limit: int
    ttl_seconds: int
    """Life of a counter born by this charge; longer than its window, so never what ends it."""
    is_refund: bool = False
    """Hits are taken off, never below 0; a counter that is not there is not made."""
    is_per_second: bool = False
    """Counts in the store for limits per second, where one is configured."""


# Not frozen, as Charge: both are made for every call.
@dataclass(slots=True)
class Ledger:
    """What one RPC wants written."""

    charges: Sequence[Charge]
    deadline: float
    """In seconds of `Clock.steady`; a store gives this ledger up then, and no other."""
    policy: Policy = Policy.BURN


@dataclass(slots=True)
class Admission:
    """What one RPC wants of counters some of which have modes of our own; `ratelimit.draw` has the rules."""

    draws: Sequence[Draw]
    deadline: float
    is_kept: bool = False
    """All or nothing: refused, it spends and holds nothing."""


# Before and after; a tuple because one is made for every charge.
Count: TypeAlias = tuple[int, int]
Outcome: TypeAlias = Sequence[Count] | StoreError
AdmissionOutcome: TypeAlias = Standings | StoreError


@dataclass(frozen=True, slots=True)
class Outstanding:
    """A hold that has not ended."""

    id: str
    """Request id; empty: it was reserved without one."""
    amount: int
    due_ms: int
    """When it is given back, in Unix time by the store's clock."""


@dataclass(frozen=True, slots=True)
class HoldsPage:
    """Some holds of one counter."""

    holds: Sequence[Outstanding]
    cursor: str
    """Where the next page begins; empty: this is the last."""


class Store(Protocol):
    """Where counters live: memory or Redis, held to one contract by `tests/contract`."""

    async def start(self) -> None:
        """Connect; return once the counters can be reached or the attempts are used up.

        Raises:
            StoreUnavailable: they cannot.
        """

    async def charge(self, ledgers: Sequence[Ledger], now: float) -> Sequence[Outcome]:
        """Apply every ledger and say what each counter held before and holds after.

        `now` is Unix time by the caller's clock. A counter born here dies `ttl_seconds` later,
        however often it is added to: a window has one end. A refund renews nothing.

        Never raises: an outcome is a `StoreTimeout` where the charge may have happened (never
        retried), a `StoreUnavailable` where it did not, a `StoreRefused` where the server said no.
        """

    async def admit(
        self, ledgers: Sequence[Ledger], admissions: Sequence[Admission], now: float
    ) -> tuple[Sequence[Outcome], Sequence[AdmissionOutcome]]:
        """Do what `charge` does, and apply admissions too, in the same round trip.

        Fixed windows are in the draws; sliding windows, buckets, holds and remembered ids live by the server's
        clock, or by `now` where the store is told to (tests). An admission over several places (slots, servers) that
        must be kept is a `StoreRefused`: it cannot be all or nothing.
        """

    async def holds(self, draw: Draw, *, cursor: str, most: int, now: float, deadline: float) -> HoldsPage | StoreError:
        """Return holds of the counter that a draw is on, about `most` of them, in no order; nothing is changed.

        All that are outstanding while its pages are read are told, perhaps twice. `cursor` is empty for the first page.
        """

    def on_refund(self, forget: Callable[[str], None]) -> None:
        """Have `forget(key)` called when any replica refunds a counter (where the store can tell)."""

    @property
    def is_healthy(self) -> bool:
        """False while the store is known not to answer (breaker open, or never reached)."""

    async def stop(self) -> None:
        """Let go of connections; charges under way get `StoreUnavailable` or `StoreTimeout`."""
