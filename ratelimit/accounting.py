"""What every rule counted: arithmetic of one charge, and a bounded table of sums.

    0 ────────────── near mark ─────────── limit ────────────▶ count
           within      │   within, near      │     over

1. A charge of `hits` moved a counter from `before` to `after`. Denied as a whole (it began at or
   above the limit) all its hits are over; crossing the limit, only those beyond it are.
2. Hits in the near zone are near, also those of a call that was denied for the rest.
3. A call that was let through is within, with all its hits.
4. The table is read by sinks and written by every call: nothing here looks at a clock, and a
   series costs nothing until it moved. Keys come from requests (values in names, overrides), so
   their number is bounded: beyond it hits are counted under `<domain>.other`, and beyond
   `domains_max` of those under `other`.
"""

from __future__ import annotations

from collections.abc import Iterator
from ctypes import c_float
from functools import lru_cache
from math import floor
from typing import Protocol

from serving.metrics import Sample

STATS = (
    "total_hits",
    "over_limit",
    "near_limit",
    "within_limit",
    "shadow_mode",
    "over_limit_with_local_cache",
    "total_negative_hits",
    "domain_not_found",
)
PREFIX = "ratelimit.service.rate_limit."

# Not the reference's: they must not stand among the names that dashboards add up.
METERING = {
    "checks_without_charge": "weir.metering.checks_without_charge",
    "charges_of_one": "weir.metering.charges_of_one",
}
OTHER = "other"


class RuleStats:
    """The sums of one stats key."""

    __slots__ = (*STATS, *METERING, "moved_at", "seen")

    total_hits: int
    over_limit: int
    near_limit: int
    within_limit: int
    shadow_mode: int
    over_limit_with_local_cache: int
    total_negative_hits: int
    domain_not_found: int
    checks_without_charge: int
    charges_of_one: int

    def __init__(self) -> None:
        self.total_hits = self.over_limit = self.near_limit = self.within_limit = self.shadow_mode = 0
        self.over_limit_with_local_cache = self.total_negative_hits = self.domain_not_found = 0
        self.checks_without_charge = self.charges_of_one = 0
        self.seen = -1
        """Sum of all at the last reading; -1 before the first."""
        self.moved_at = 0.0
        """When a reading found them moved."""

    def values(self) -> list[tuple[str, int]]:
        """List the sums that ever moved, by name."""
        return [(name, value) for name in (*STATS, *METERING) if (value := getattr(self, name))]


# Seven plain arguments: this runs for every charge, and a record to carry them costs more than the work.
def account(  # noqa: PLR0913, PLR0917
    stats: RuleStats,
    before: int,
    after: int,
    hits: int,
    limit: int,
    near: int,
    is_shadow: bool,  # noqa: FBT001
) -> None:
    """Count one charge that the store answered; `near` is the limit's `near_mark`.

    `before` is `after - hits` also where STOP left the hits out: so the reference counts.
    """
    stats.total_hits += hits
    if after <= limit:
        stats.within_limit += hits
        if after > near:
            stats.near_limit += hits if before >= near else after - near
        return
    over = hits
    if before < limit:
        over = after - limit
        stats.near_limit += limit - max(near, before)
    stats.over_limit += over
    if is_shadow:
        stats.shadow_mode += over


def account_local(stats: RuleStats, hits: int, *, is_shadow: bool) -> None:
    """Count a denial out of the local cache, which the store never saw."""
    stats.total_hits += hits
    stats.over_limit += hits
    stats.over_limit_with_local_cache += hits
    if is_shadow:
        stats.shadow_mode += hits


def account_refund(stats: RuleStats, hits: int) -> None:
    """Count hits given back; they lower no other sum."""
    stats.total_negative_hits += hits


@lru_cache(maxsize=4_096)
def near_mark(amount: int, ratio: float) -> int:
    """Return the count above which hits are near the limit.

    In single precision, as the reference: 0.7 of 180 is 126, where doubles say 125.
    """
    # The product of two singles fits a double exactly, so it is rounded once, as a product of singles is.
    product = c_float(c_float(amount).value * c_float(ratio).value).value
    # Singles are coarse above 2^24 and may end up above the limit itself.
    return floor(min(product, amount))


class Stats(Protocol):
    """Where hits are accounted for, by the path of the rule."""

    def __getitem__(self, stats_key: str, /) -> RuleStats:
        """Return the sums of one path; look it up each time, entries come and go."""


class StatsTable(dict[str, RuleStats]):
    """Sums by stats key; a missing one is made, or shared where the table is full.

    Look a key up for every call and keep nothing: an entry that was dropped counts for nobody.
    """

    def __init__(self, *, series_max: int, domains_max: int, ttl_seconds: float) -> None:
        super().__init__()
        self._series_max = series_max
        self._domains_max = domains_max
        self._ttl_seconds = ttl_seconds
        self._others: dict[str, RuleStats] = {}

    def __missing__(self, stats_key: str) -> RuleStats:
        """Return a new entry, or the one that the overflow of its domain shares."""
        if len(self) < self._series_max:
            return self.setdefault(stats_key, RuleStats())
        domain, dot, _ = stats_key.partition(".")
        name = f"{domain}.{OTHER}"
        if not dot or (name not in self._others and len(self._others) >= self._domains_max):
            name = OTHER
        return self._others.setdefault(name, RuleStats())

    def samples(self, now: float) -> Iterator[Sample]:
        """Read what ever moved, and drop what stood for `ttl_seconds`; `now` in steady seconds.

        To register: `registry.add_source(lambda: table.samples(clock.steady()))`.
        """
        for table in (self, self._others):
            for stats_key, stats in list(table.items()):
                values = stats.values()
                total = sum(value for _, value in values)
                if total != stats.seen:
                    stats.seen, stats.moved_at = total, now
                elif now - stats.moved_at > self._ttl_seconds:
                    # A reader that pauses may find that another one was here.
                    table.pop(stats_key, None)
                    continue
                for name, value in values:
                    if name in METERING:
                        yield Sample(METERING[name], value, "counter", {"rule": stats_key})
                    else:
                        yield Sample(f"{PREFIX}{stats_key}.{name}", value)
