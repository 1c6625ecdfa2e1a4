"""What a rule says beyond the reference, as values; `own_keys` reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from math import ceil, floor

from ratelimit.draw import HITS_MAX


@dataclass(frozen=True, slots=True)
class Reserve:
    """Tokens in flight: the check sets them aside, the charge settles them."""

    ttl_ms: int = 120_000
    """Life of a hold. A call that takes longer is charged late, as if it had never held."""
    default: int = 1_000
    """Estimate of a check that brings none."""
    max_fraction: float = 1.0
    """Share of the limit that one hold may take."""

    def hold_max(self, capacity: int) -> int:
        """Return the most that one hold may take."""
        return max(1, floor(self.max_fraction * capacity))


@dataclass(frozen=True, slots=True)
class Lease:
    """Blocks of hits that a replica takes at once and spends by itself: for keys that are asked all the time."""

    ttl_ms: int = 1_000
    """Life of a block. What is left of it then is given back."""
    max_fraction: float = 0.1
    """Share of the limit that one block may be."""


class OnStoreError(Enum):
    """What a rule answers while its counters cannot be read."""

    ERROR = "error"
    """The call fails, and the gateway's failure mode decides, as with the reference."""
    OPEN = "open"
    CLOSED = "closed"
    LOCAL = "local"
    """Count here, on a share of the limit."""


# What a template may hold.
TEMPLATE_WORDS = ("{limit}", "{remaining}", "{reset}", "{span}", "{rule}")


@dataclass(frozen=True, slots=True)
class Denied:
    """What the client of a refused request gets."""

    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    """Template; `{limit}`, `{remaining}`, `{reset}`, `{span}` and `{rule}` are filled in."""
    media_type: str = ""


@dataclass(frozen=True, slots=True)
class Soft:
    """A limit that warns: from a share of the limit the request is admitted, and marked."""

    at: float = 1.0
    """Share of the limit."""
    headers: tuple[tuple[str, str], ...] = ()
    """Added to the upstream request."""


@dataclass(frozen=True, slots=True)
class Modes:
    """How one rule differs from the reference's."""

    is_kept: bool = False
    """A refused request spends nothing, on any of its counters."""
    is_exhausted: bool = False
    """A check is refused at the limit, and not only above it."""
    reserve: Reserve | None = None
    on_store_error: OnStoreError = OnStoreError.ERROR
    local_share: float = 0.0
    remember_ms: int = 0
    """How long a request id is remembered, so that a repeated charge counts once."""
    weights: Mapping[str, Fraction] = field(default_factory=dict, hash=False)
    """By kind of token. A kind that is not named weighs as what it is a part of (`PART_OF`), or else 1."""
    denied: Denied | None = None
    soft: Soft | None = None
    lease: Lease | None = None

    @property
    def is_counted_plainly(self) -> bool:
        """Whether the counter is the reference's, and asked as the reference asks."""
        return not (self.is_kept or self.is_exhausted or self.has_companions or self.lease is not None)

    @property
    def has_extras(self) -> bool:
        """Whether it adds something to an answer."""
        return self.denied is not None or self.soft is not None

    @property
    def has_companions(self) -> bool:
        """Whether something is kept beside the counter."""
        return self.reserve is not None or self.remember_ms > 0

    def cost(self, hits: int, kind: str) -> int:
        """Return hits after weighting, rounded up."""
        weight = self.weights.get(kind)
        if weight is None and kind in PART_OF:
            weight = self.weights.get(PART_OF[kind])
        return hits if weight is None else min(ceil(hits * weight), HITS_MAX)


# What a kind without a weight of its own weighs as: it is priced as what providers report it to be a part of.
PART_OF = {"cached_input": "input", "reasoning": "output"}

REFERENCE_MODES = Modes()
