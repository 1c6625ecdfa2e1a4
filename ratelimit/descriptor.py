"""What a caller asks: descriptors with their hits, before any rule is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeAlias

from ratelimit.limits import Limit

Entry: TypeAlias = tuple[str, str]


class Phase(Enum):
    """Which call of a request this is, where the caller says so."""

    UNSAID = ""
    CHECK = "check"
    """Before the work: may be refused."""
    CHARGE = "charge"
    """After the work: is counted, whatever is left."""
    LOOK = "look"
    """Outside of any work: nothing is spent and nothing set aside."""


# Not frozen, and neither is Request: that costs a microsecond each, for every request that is new.
@dataclass(slots=True)
class Descriptor:
    """An ordered list of key-value pairs, and what it would spend."""

    entries: tuple[Entry, ...]
    hits: int | None = None
    """None: the request's own hits; 0: look, spend nothing."""
    is_refund: bool = False
    override: Limit | None = None
    phase: Phase = Phase.UNSAID
    kind: str = ""
    """Kind of token, for weights."""
    kinds: tuple[tuple[str, int], ...] = ()
    """Hits beside `hits`, each with its kind."""


class Asked(Protocol):
    """What a plan tells of its request."""

    @property
    def domain(self) -> str:
        """Return the domain."""

    @property
    def descriptors(self) -> tuple[Descriptor, ...]:
        """Return the descriptors."""

    @property
    def hits(self) -> int | None:
        """Return the request's own hits; None: not given."""

    @property
    def request_id(self) -> str:
        """Return the id; empty: not given."""


@dataclass(slots=True)
class Request:
    """One question about a domain."""

    domain: str
    descriptors: tuple[Descriptor, ...]
    hits: int | None = None
    """None: not given, which counts as 1."""
    request_id: str = ""
    """Of the entry that REQUEST_ID_ENTRY names; it is in no descriptor."""
