"""A block of tokens: charged when it is granted, spent here, and what is left given back while that is exact.

    granted ──▶ OPEN ── spent to the last ──▶ renewed: doubled if that took less than half of its time
                 └──── (time) ──────────────▶ ENDED: what is left goes back, the next one is as large as what was spent

1. A block ends with the first of the windows that it was charged in: what is left belongs to no other.
2. What is left goes back before that end only; after it there is nothing to give back to, and a refund would come off the next
   window. From a token bucket, less is given back: what has left the bucket meanwhile left it for everybody.
3. Whoever dies with a block takes what is left with it until its window ends. So all clients together never spend more than
   was charged, and what was charged fits: the sum is kept whatever happens, at the price of what the dead had left.
4. Tokens are spent up to a block's time later than they were charged. In windows nobody can tell; of a sliding window or a
   bucket, an interval holds what the limit lets through in that much longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, inf

from ratelimit.client.values import LimitState

_RETURN_SECONDS = 0.25
_RETURN_SHARE = 0.1


@dataclass(slots=True)
class Block:
    """What one client has of one descriptor's limits; times are steady seconds."""

    ttl_seconds: float
    tokens_max: int
    max_fraction: float
    left: int = 0
    size: int = 0
    """Tokens to ask for next."""
    ends_at: float = 0.0
    """It is open before."""
    _taken: int = 0
    _charged_at: float = 0.0
    """Of the oldest tokens in it."""
    _windows_end_at: float = inf
    _leaks_per_second: float = 0.0
    _share: float = inf
    """Most tokens of one block, by the smallest of the limits."""

    def spend(self, tokens: int, now: float) -> bool:
        """Spend tokens, if the block has them."""
        if now >= self.ends_at or tokens > self.left:
            return False
        self.left -= tokens
        return True

    def wanted(self, tokens: int, now: float) -> int:
        """Return what to ask for where these tokens are to be spent: all of them, so that they are of one window."""
        if self._taken and now < (self._charged_at + self.ends_at) / 2:
            self.size *= 2
        self.size = floor(min(max(self.size, tokens), self.tokens_max, max(1, self._share)))
        return max(tokens, self.size)

    def grant(self, tokens: int, spent: int, limits: Sequence[LimitState], sent_at: float) -> None:
        """Add tokens that were charged and of which some are spent already.

        Times count from before they were asked for, which is never too late.
        """
        if not self.left:
            self._taken, self._charged_at, self._windows_end_at, self._leaks_per_second = 0, sent_at, inf, 0.0
        self.left += tokens - spent
        self._taken += tokens
        for limit in limits:
            if limit.algorithm == "token_bucket":
                leak = limit.spent / limit.reset_seconds if limit.reset_seconds else inf
                self._leaks_per_second = max(self._leaks_per_second, leak)
            else:
                self._windows_end_at = min(self._windows_end_at, sent_at + limit.reset_seconds)
        self._share = min((self.max_fraction * limit.limit for limit in limits), default=inf)
        # A little earlier than the windows, where others count longer ones: what is left can still go back to those.
        windows_end_at = self._windows_end_at - min(_RETURN_SECONDS, _RETURN_SHARE * (self._windows_end_at - sent_at))
        self.ends_at = min(sent_at + self.ttl_seconds, windows_end_at)

    def close(self, now: float) -> tuple[int, float]:
        """End it; return how much is to be given back, and the seconds in which that must have happened."""
        left, self.left = self.left, 0
        self.size, self._taken, self.ends_at = self._taken - left, 0, 0.0
        time_left = self._windows_end_at - now
        if time_left <= 0:
            return 0, 0.0
        leaked = ceil(self._leaks_per_second * (now - self._charged_at)) if self._leaks_per_second < inf else left
        return max(0, left - leaked), time_left
