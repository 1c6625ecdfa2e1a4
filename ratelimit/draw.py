"""What a rule of our own modes wants of a counter, and what the counter answers.

    Draw = where (stem, window) + what (op, hits, id) + under which terms     Store.admit ──▶ Standing

      CHARGE ─┐                      RESERVE ──▶ hold ──┬── SETTLE ──▶ spent      FORCE    work that was done: never refused
              ├── fits? ──▶ spent       (fits?)         ├── RELEASE ─▶ given back REFUND   never below 0
      AUTO ───┘                                         └── (ttl) ───▶ given back

1. A draw fits while  spent + held + hits <= limit.  Under `exhausted` a draw of nothing fits only below the limit.
2. Only CHARGE and RESERVE (and AUTO that is one of them) can be refused. FORCE, SETTLE, RELEASE and REFUND are always
   applied: what they speak of has happened.
3. Draws of one `Ledger` are looked at in order, each seeing what those before it want. Roles fold: a BLOCK that does
   not fit refuses, QUOTAs refuse if none of them fits, a SHADOW never refuses.
4. A ledger that `keep`s is all or nothing: refused, none of its refusable draws is applied. One that does not keep
   applies all of them, as the reference does.
5. A hold ends exactly once: settled, released, or expired. It is counted in the window that admitted it and nowhere
   else, and its settlement is spent there. A late settlement is a plain FORCE.
6. LEASE takes a block for whoever will spend it elsewhere: what fits, and it is spent from then on.
7. AUTO is for callers that cannot say which call it is (an unmodified Envoy asks twice with one request id): the first
   call of an id reserves, every later one settles. An id is remembered ten times as long as its hold lives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import NamedTuple


class Algorithm(Enum):
    """How hits leave a counter again."""

    FIXED_WINDOW = "fixed_window"
    """All at once, at the window's end."""
    SLIDING_WINDOW = "sliding_window"
    """Each after the window's length, never earlier: no interval of that length holds more than the limit."""
    TOKEN_BUCKET = "token_bucket"  # noqa: S105 - no password
    """Evenly, `limit` per window; up to `burst` may be spent at once (GCRA)."""
    REFERENCE = "reference"
    """The counter of envoyproxy/ratelimit, by its key: for plain rules in a request that is all or nothing, or that holds.
    Each window is a counter of its own, with holds of its own."""


# Parts that a sliding window is counted in. Hits leave with the part they came in, so up to 1/32 of the window later
# than they might: that is the slack, and it is on the side of the limit.
SLICES = 32

# Most hits of one call: scripts count in doubles, which are exact up to here.
HITS_MAX = 2**53 - 1

# A UUID has 36; of longer request ids the rest is cut, since each is kept as long as its hold.
ID_CHARACTERS_MAX = 128

# Holds and remembered ids that one sweep ends; a call is never held up by more.
SWEEP_MAX = 1_000

# An id is remembered for so many lives of its hold: long answers are charged late.
MEMORY_LIVES = 10


class Role(IntEnum):
    """What it means for the request that a draw does not fit."""

    BLOCK = 0
    QUOTA = 1
    SHADOW = 2


class Op(IntEnum):
    """What is wanted of a counter."""

    CHARGE = 0
    """Spend hits, if they fit; 0 hits look."""
    FORCE = 1
    """Spend hits, whether they fit or not."""
    REFUND = 2
    """Take hits off, not below 0. With the id of a hold: release that instead."""
    RESERVE = 3
    """Hold hits, if they fit. An id that holds already is answered as it was."""
    SETTLE = 4
    """End the hold and spend hits; without a hold, FORCE. No id: the oldest hold that has none."""
    RELEASE = 5
    """End the hold and spend nothing."""
    AUTO = 6
    """RESERVE for an id that was never seen, SETTLE for one that was."""
    LEASE = 7
    """Spend as much of hits as fits, and be told how much that was: `after - before`."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What is known of a counter when the rules are loaded."""

    algorithm: Algorithm
    limit: int
    """Spent and held together, 0…COUNT_MAX; for a token bucket, what refills it in one window."""
    window_ms: int = 0
    """Length of a sliding window, or the time that refills a bucket; 0 where the window is in the draw."""
    capacity: int = 0
    """What may be spent at once: the bucket's burst; the limit for all others."""
    is_exhausted: bool = False
    """A draw of nothing is refused at the limit, and not only above it."""
    hold_ms: int = 0
    """Life of a hold; 0: the rule does not reserve."""
    hold_max: int = 0
    """Most hits of one hold: larger estimates are cut to it."""
    remember_ms: int = 0
    """How long a request id is remembered, so that a repeated charge counts once; 0: not at all."""
    lease_ms: int = 0
    """Life of a block of hits that one replica takes at once; 0: it takes none."""
    lease_max: int = 0
    """Most hits of one block."""


# Not frozen: made for every call.
@dataclass(slots=True)
class Draw:
    """One thing wanted of one counter."""

    stem: str
    """The counter's name; with a fixed window, up to its start. All its companions share the stem's slot."""
    op: Op
    hits: int
    """0…COUNT_MAX."""
    terms: Terms
    role: Role = Role.BLOCK
    id: str = ""
    """Request id; empty: none."""
    start: int = 0
    """Unix seconds; 0 for algorithms without fixed windows."""
    end: int = 0
    """Its end. For REFERENCE: the life in seconds of a counter born here."""
    is_per_second: bool = False
    life_ms: int = 0
    """Of a hold, where the caller wants less than the terms give; 0: theirs."""

    @property
    def hold_ms(self) -> int:
        """Return how long a hold of this draw lives."""
        return min(self.life_ms, self.terms.hold_ms) if self.life_ms else self.terms.hold_ms


class Standing(NamedTuple):
    """How a counter stands after a draw."""

    before: int
    """Spent, before the draw."""
    after: int
    """Spent, now; rounded up where hits leave evenly."""
    held: int
    """Held now, by anybody."""
    is_over: bool
    """The draw did not fit; for one that is always applied: more than the limit is spent."""
    reset_ms: int
    """Until the window ends; for a sliding window and a bucket until hits that did not fit would, or all have left."""
    is_ended: bool = False
    """The draw ended a hold."""


Standings = Sequence[Standing]
