"""What a traced call leaves on its way: the headers it came with, and how long its steps took.

Nothing here knows OpenTelemetry: what is not traced pays for a look at a variable.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeAlias

Headers: TypeAlias = tuple[tuple[str, str], ...]

# W3C's and B3's, as the reference's propagators read them.
_NAMES = frozenset(
    {
        "traceparent",
        "tracestate",
        "b3",
        "x-b3-traceid",
        "x-b3-spanid",
        "x-b3-parentspanid",
        "x-b3-sampled",
        "x-b3-flags",
    }
)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was waited for, between two moments of Unix time."""

    name: str
    start: float
    end: float


STEPS: ContextVar[list[Step] | None] = ContextVar("STEPS", default=None)
"""Where steps of the present batch are put; None where nobody wants to know."""


def trace_headers(metadata: Iterable[tuple[str, str | bytes]]) -> Headers:
    """Return those of a call's headers that say which trace it belongs to."""
    return tuple((name, value) for name, value in metadata if name in _NAMES and isinstance(value, str))
