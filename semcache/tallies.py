"""What a replica has seen of each namespace since it started: hits, judgements, tokens and money."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from semcache.answers import Answer, Kept, Outcome, Refusal
from semcache.entry import Usage
from semcache.namespaces import Demand, Namespace

_Z_95 = 1.959964


@dataclass(slots=True)
class Tally:
    """Sums of one namespace."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    saved: Usage = field(default_factory=Usage)
    right: int = 0
    """Judged semantic hits that fitted."""
    wrong: int = 0
    stored: int = 0
    refused: int = 0
    shadow: Demand | None = None
    """The candidate setting that `shadow_hits` are of; with another one they are counted anew."""
    shadow_asked: int = 0
    shadow_hits: int = 0
    """Lookups that it would have answered, exact hits included."""

    def count_answer(self, answer: Answer) -> None:
        """Take an answer."""
        self.outcomes[answer.outcome] += 1
        if answer.entry is not None:
            self.saved = _sum(self.saved, answer.entry.completion.usage)

    def count_shadow(self, shadow: Demand, *, is_hit: bool) -> None:
        """Take what a candidate setting would have made of a lookup."""
        if shadow != self.shadow:
            self.shadow, self.shadow_asked, self.shadow_hits = shadow, 0, 0
        self.shadow_asked += 1
        self.shadow_hits += is_hit

    def count_kept(self, kept: Kept) -> None:
        """Take what became of an offer."""
        if kept.refusal is Refusal.NONE:
            self.stored += 1
        else:
            self.refused += 1

    def count_judgement(self, *, is_right: bool) -> None:
        """Take a judgement of a semantic hit."""
        if is_right:
            self.right += 1
        else:
            self.wrong += 1

    @property
    def exact_hits(self) -> int:
        """Return lookups that ended EXACT."""
        return self.outcomes[Outcome.EXACT]

    @property
    def semantic_hits(self) -> int:
        """Return lookups that ended SEMANTIC."""
        return self.outcomes[Outcome.SEMANTIC]

    @property
    def misses(self) -> int:
        """Return lookups that ended in a MISS."""
        return self.outcomes[Outcome.MISS]

    @property
    def bypasses(self) -> int:
        """Return lookups that ended in a BYPASS."""
        return self.outcomes[Outcome.BYPASS]

    @property
    def hits(self) -> int:
        """Return exact and semantic hits."""
        return self.exact_hits + self.semantic_hits

    @property
    def asked(self) -> int:
        """Return lookups that were not bypassed."""
        return self.outcomes.total() - self.bypasses

    def saved_micros(self, namespace: Namespace) -> int:
        """Return what hits saved at the namespace's prices, less what all lookups cost, in millionths."""
        prices, saved = namespace.prices, self.saved
        cached_price = prices.input if prices.cached_input is None else prices.cached_input
        spared = (
            (saved.input_tokens - saved.cached_input_tokens) * prices.input
            + saved.cached_input_tokens * cached_price
            + saved.output_tokens * prices.output
        )
        # Prices are for a million, and so are micros.
        return round(spared - self.outcomes.total() * prices.lookup)


@dataclass(frozen=True, slots=True)
class Share:
    """A share with its 95 % interval."""

    value: float
    low: float
    high: float
    count: int


def share(number: int, of: int) -> Share:
    """Return a share with Wilson's interval, which is honest at small counts and at both ends."""
    if of == 0:
        return Share(0.0, 0.0, 1.0, 0)
    value, spread = number / of, _Z_95**2 / of
    middle = (value + spread / 2) / (1 + spread)
    half = _Z_95 / (1 + spread) * math.sqrt(value * (1 - value) / of + spread / (4 * of))
    return Share(value, max(0.0, min(value, middle - half)), min(1.0, max(value, middle + half)), of)


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(
        one.input_tokens + other.input_tokens,
        one.output_tokens + other.output_tokens,
        one.cached_input_tokens + other.cached_input_tokens,
        one.reasoning_tokens + other.reasoning_tokens,
    )
