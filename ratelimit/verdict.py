"""The answer to one request, before it is put into anybody's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ratelimit.draw import Draw, Standings
from ratelimit.limits import Limit
from ratelimit.specs import JsonValue

# What an unlimited rule has left: the largest number of the answer's field.
REMAINING_MAX = 2**32 - 1


# Not frozen: one is made for every descriptor of every call.
@dataclass(slots=True)
class Status:
    """The answer for one descriptor."""

    is_over: bool
    limit: Limit | None = None
    """None: nothing matched, or unlimited."""
    remaining: int = 0
    reset_seconds: int = 0
    """To the end of the window; told only with a limit."""


@dataclass(slots=True)
class Verdict:
    """The answer for a request."""

    is_over: bool
    statuses: Sequence[Status]
    tightest: Status | None = None
    """The one that limit headers speak of; None where headers are off or nothing has a limit."""
    metadata: Mapping[str, JsonValue] | None = None
    """None: dynamic metadata is off."""
    draws: Sequence[Draw] = ()
    """What was wanted of counters of our own modes, and how each stood after it; by descriptor and limit."""
    standings: Standings = ()
    response_headers: Sequence[tuple[str, str]] = ()
    """For the client, by rules that refused."""
    request_headers: Sequence[tuple[str, str]] = ()
    """For the upstream, by soft limits."""
    body: bytes = b""
    """For the client of a refused request; empty: the gateway's own."""
    at: float = 0.0
    """Unix time of the decision; its windows were those of this moment."""


NO_LIMIT = Status(is_over=False)
UNLIMITED = Status(is_over=False, remaining=REMAINING_MAX)
