"""Deals ledgers out to the places their counters live in, and puts the outcomes together again.

A place is what one script call can reach: a whole server, or one slot of a cluster. A ledger that
spans places is dealt out in shares, and is whole again only if every share is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ratelimit.errors import StoreError, StoreRefused, StoreTimeout, StoreUnavailable
from ratelimit.store import Charge, Count, Ledger, Outcome

# (position of the server: 0, or 1 for limits per second; slot)
Place: TypeAlias = tuple[int, int]


@dataclass(slots=True)
class Share:
    """What one place has of one ledger."""

    origin: int
    """Position of the ledger in the batch."""
    ledger: Ledger
    """The ledger, or a part of it."""
    positions: Sequence[int] = ()
    """Where its charges stand in the whole; nothing is said where it is the whole."""
    outcome: Outcome = ()


def deal(origin: int, ledger: Ledger, place_of: Callable[[Charge], Place]) -> dict[Place, Share]:
    """Deal one ledger out."""
    positions: dict[Place, list[int]] = {}
    for position, charge in enumerate(ledger.charges):
        positions.setdefault(place_of(charge), []).append(position)
    if len(positions) == 1:
        return dict.fromkeys(positions, Share(origin, ledger))
    return {
        place: Share(
            origin, Ledger([ledger.charges[position] for position in mine], ledger.deadline, ledger.policy), mine
        )
        for place, mine in positions.items()
    }


def gather(ledger: Ledger, shares: Sequence[Share]) -> Outcome:
    """Return the outcome of the whole."""
    if len(shares) == 1:
        return shares[0].outcome
    errors: list[StoreError] = []
    counts: list[Count] = [(0, 0)] * len(ledger.charges)
    for share in shares:
        if isinstance(share.outcome, StoreError):
            errors.append(share.outcome)
            continue
        for position, count in zip(share.positions, share.outcome, strict=True):
            counts[position] = count
    return worst(errors, is_partial=len(errors) < len(shares)) if errors else counts


def worst(errors: Sequence[StoreError], *, is_partial: bool) -> StoreError:
    """Return the error of a whole whose parts had these."""
    for error in errors:
        if isinstance(error, StoreRefused):
            return error
    if not is_partial and all(isinstance(error, StoreUnavailable) for error in errors):
        return errors[0]
    return StoreTimeout(f"only a part is known to have happened: {errors[0]}")
