"""The dynamic limits that this replica knows, as their store told it, page by page.

                      page follows what is known ──▶ taken at once
    store ── page ──▶
                      it does not (another store, or clearings forgotten) ──▶ LOADING from version 0 ── complete ──▶ in force

1. While everything is loaded anew the old limits stay in force, as they do while the store is away.
2. A page follows if the store is the one that was read before and still remembers every clearing since. While loading that
   is every clearing since the load began: what was cleared before is not in the pages.
3. Ends are kept in steady seconds, counted from when the store told them: clocks of replicas need not agree.
4. `stamp` changes with whatever is in force, so whoever made something out of limits knows that it is still true.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from ratelimit.dynamic_limit import Change, Page


@dataclass(frozen=True, slots=True)
class _Known:
    amount: int
    version: int
    ends_at: float
    """Steady seconds; 0: never."""


class KnownLimits:
    """Amounts by name."""

    def __init__(self) -> None:
        self.stamp = 0
        self.after = 0
        """Version to read after, next."""
        self._limits: dict[str, _Known] = {}
        self._ends: list[tuple[float, str]] = []
        """A heap; one that was changed since is still in it under its old end."""
        self._born = ""
        self._since = 0
        """Version at which all that is known was true, or its loading began."""
        self._loading: dict[str, _Known] | None = None

    def __len__(self) -> int:
        return len(self._limits)

    def get(self, name: str) -> int | None:
        """Return the amount in force in place of a rule's; None: the rule's own."""
        known = self._limits.get(name)
        return None if known is None else known.amount

    @property
    def version(self) -> int:
        """Return the version of the last change that is in force."""
        return self._since

    def take(self, page: Page, steady: float) -> bool:
        """Take note of a page that was read after `after`; return whether there is more to read."""
        if not self._follows(page):
            self._begin(page)
            if page.after:
                return True
        limits = self._limits if self._loading is None else self._loading
        for change in page.changes:
            self._note(limits, change, page.now_ms, steady)
        self.after = page.last
        if self._loading is None and page.changes:
            self.stamp += 1
        if self.after < page.version:
            return True
        self._complete(page.version)
        return False

    def forget(self) -> None:
        """Know nothing: no rule asks for dynamic limits any more."""
        stamp = self.stamp
        self.__init__()  # type: ignore[misc]
        self.stamp = stamp + 1

    def expire(self, steady: float) -> None:
        """Drop what has ended."""
        while self._ends and self._ends[0][0] <= steady:
            _, name = heappop(self._ends)
            known = self._limits.get(name)
            if known is not None and 0 < known.ends_at <= steady:
                del self._limits[name]
                self.stamp += 1

    def _follows(self, page: Page) -> bool:
        is_same = page.after == self.after and page.born == self._born and page.version >= self.after
        return is_same and page.floor <= max(self._since, self.after)

    def _begin(self, page: Page) -> None:
        self._loading, self._born, self._since, self.after = {}, page.born, page.version, 0

    def _note(self, limits: dict[str, _Known], change: Change, now_ms: int, steady: float) -> None:
        limit = change.limit
        if limit is None:
            limits.pop(change.name, None)
            return
        ends_at = steady + (limit.ends_ms - now_ms) / 1000 if limit.ends_ms else 0.0
        limits[change.name] = _Known(limit.amount, change.version, ends_at)
        if limits is self._limits and ends_at:
            heappush(self._ends, (ends_at, change.name))
            if len(self._ends) > 2 * len(limits):
                self._order()

    def _complete(self, version: int) -> None:
        self._since = version
        if self._loading is not None:
            self._limits, self._loading = self._loading, None
            self._order()
            self.stamp += 1

    def _order(self) -> None:
        self._ends = [(known.ends_at, name) for name, known in self._limits.items() if known.ends_at]
        heapify(self._ends)
