"""Fair shares of what is left of a limit, for the replicas of a gateway that report on it.

    reports ── demand of each ──▶ shares: nobody gets more than he asks while somebody else lacks (max-min fairness),
                                  and what nobody asks for is divided evenly, so that an idle replica can begin

A replica that has not reported for some of its intervals has no share any more.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import floor

# Reports that may be missed before a share goes to the others.
_MISSED_MAX = 3


def shares(total: int, demands: Sequence[float]) -> list[int]:
    """Divide `total`; the sum of the shares is at most that."""
    left, given = float(total), [0.0] * len(demands)
    waiting = sorted(range(len(demands)), key=lambda one: demands[one])
    for position, one in enumerate(waiting):
        given[one] = min(demands[one], left / (len(waiting) - position))
        left -= given[one]
    even = left / len(demands) if demands else 0.0
    return [floor(share + even) for share in given]


@dataclass(slots=True)
class _Reporter:
    demand: float
    ends_at: float
    share: int = -1


class Bucket:
    """Who reports on one bucket, and what he was told."""

    def __init__(self) -> None:
        self._reporters: dict[Hashable, _Reporter] = {}

    @property
    def is_empty(self) -> bool:
        """Return whether nobody reports."""
        return not self._reporters

    def report(self, reporter: Hashable, demand: float, interval_seconds: float, now: float) -> None:
        """Take note of what one replica asked for, as hits in a window; `now` in steady seconds."""
        known = self._reporters.get(reporter)
        share = known.share if known is not None else -1
        self._reporters[reporter] = _Reporter(demand, now + _MISSED_MAX * max(interval_seconds, 0.1), share)
        for other in [one for one, each in self._reporters.items() if each.ends_at <= now]:
            del self._reporters[other]

    def leave(self, reporter: Hashable) -> None:
        """Forget a replica."""
        self._reporters.pop(reporter, None)

    def divide(self, total: int) -> dict[Hashable, int]:
        """Return everybody's share, and remember it."""
        names = list(self._reporters)
        given = shares(total, [self._reporters[name].demand for name in names])
        for name, share in zip(names, given, strict=True):
            self._reporters[name].share = share
        return dict(zip(names, given, strict=True))

    def told(self, reporter: Hashable) -> int:
        """Return the share that was told last; -1: none."""
        return self._reporters[reporter].share
