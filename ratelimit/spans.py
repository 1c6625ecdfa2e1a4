"""The windows of one batch: worked out once for each kind, at one moment, so that no answer belongs to two."""

from __future__ import annotations

import random
from dataclasses import dataclass

from ratelimit.limits import Limit, Unit, Window, Windowing, Windows


@dataclass(frozen=True, slots=True)
class Span:
    """One window, as the answers of this batch need it."""

    window: Window
    suffix: str
    """Of the counter keys of the reference: the window's start."""
    reset_seconds: int
    ttl_seconds: int


class Spans(dict[object, Span]):
    """By unit, or by windowing for windows of our own; what is missing is worked out."""

    def __init__(self, windows: Windows, now: float, jitter_seconds: int, *, at: float = 0.0) -> None:
        super().__init__()
        self.now = now
        self._at = at or now
        """The moment whose windows these are; their resets are seen from now."""
        self._windows = windows
        self._jitter_seconds = jitter_seconds

    def __missing__(self, key: Unit | Windowing) -> Span:
        """Work out the window."""
        window = self._windows.at(key, self._at) if isinstance(key, Unit) else key.at(self._at)
        # One draw for a batch: counters born in it need not differ among themselves.
        jitter = int(random.random() * self._jitter_seconds)  # noqa: S311 - spreads expiry, guards nothing
        reset = max(0, window.end - int(self.now))
        span = Span(window, str(window.start), reset, window.end - window.start + jitter)
        self[key] = span
        return span

    def before(self, at: float) -> Spans:
        """Return the windows of another moment, seen from now; 0: these."""
        return Spans(self._windows, self.now, self._jitter_seconds, at=at) if at else self

    def of(self, limit: Limit) -> Span:
        """Return the window of a limit."""
        return self[limit.windowing or limit.unit]
