"""What callers ask of the cache and what it answers, in plain values; `api/` has the same words on the wire."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from semcache.entry import Completion, Entry, EntryId, ScopeId
from semcache.namespaces import Namespace
from semcache.scope import Json, Scope


class Outcome(IntEnum):
    """How a lookup ended; numbers as on the wire."""

    EXACT = 1
    SEMANTIC = 2
    MISS = 3
    BYPASS = 4


class Reason(IntEnum):
    """Why a lookup was no hit; numbers as on the wire, where each is explained."""

    NONE = 0
    NOT_FOUND = 1
    LOW_CONFIDENCE = 2
    GUARD = 3
    EXPLORED = 4
    DEICTIC = 5
    EXACT_ONLY = 6
    GATE_CLOSED = 7
    OTHER_HISTORY = 8
    DEADLINE = 9
    STORE = 10
    EMBEDDER = 11
    FILLING = 12
    MISSING_SCOPE = 13
    DISABLED = 14
    STORE_AWAY = 15
    TOO_LONG = 16
    UNREAD = 17


class Refusal(IntEnum):
    """Why an answer was not kept; numbers as on the wire, where each is explained."""

    NONE = 0
    TOO_LARGE = 1
    INCOMPLETE = 2
    TOOL_CALLS = 3
    TEMPERATURE = 4
    DEICTIC = 5
    MISSING_SCOPE = 6
    DISABLED = 7
    QUARANTINED = 8
    EMBEDDER = 9
    STORE = 10
    INVALIDATED = 11


@dataclass(frozen=True, slots=True)
class Turn:
    """A prompt with what was said around it."""

    prompt: str = field(repr=False)
    """Normalised."""
    others: Json = field(default=None, repr=False)
    """The other turns, as they must be equal where a namespace wants that."""
    history: str = field(default="", repr=False)
    """What was said in the other turns as one text, for a namespace that compares it by meaning."""
    fixed: Json = field(default=None, repr=False)
    """What must be equal there, too: turns of neither user nor assistant, and what is no text."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One lookup."""

    namespace: Namespace
    scope: Scope
    """Without history."""
    turn: Turn
    deadline: float
    """In seconds of `Clock.steady`; of the search, not of a wait for somebody else's fetch."""
    caller_deadline: float = math.inf
    """When the caller hangs up."""
    max_age_seconds: float = math.inf
    confidence_min: float = 0.0
    is_exact_only: bool = False
    wants_lease: bool = False
    fill_wait_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to fetch for all who ask the same."""

    id: str = field(repr=False)
    ttl_seconds: float


class Answer(NamedTuple):
    """How a lookup ended (a named tuple: bettered several times on the way, at a quarter of what a dataclass takes)."""

    outcome: Outcome
    reason: Reason = Reason.NONE
    step: str = ""
    """What decided."""
    entry: Entry | None = None
    """What is served; none unless it is a hit."""
    entry_id: EntryId | None = None
    """What is served, or came nearest."""
    similarity: float = 0.0
    confidence: float = 0.0
    age_seconds: float = 0.0
    guard: str = ""
    missing: str = ""
    lookup_id: str = ""
    lease: Lease | None = None
    tokens_unread: int = 0
    scope_id: ScopeId | None = None

    @property
    def is_hit(self) -> bool:
        """Return whether there is something to serve."""
        return self.entry is not None


@dataclass(frozen=True, slots=True)
class Offer:
    """One answer to keep."""

    namespace: Namespace
    scope: Scope
    turn: Turn
    completion: Completion = field(repr=False)
    deadline: float
    lease_id: str = field(default="", repr=False)
    lookup_id: str = ""
    ttl_seconds: float = 0.0
    """0: the namespace's default."""
    tags: tuple[str, ...] = ()
    source: Mapping[str, str] = field(default_factory=dict)
    temperature: float | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of an offer."""

    refusal: Refusal = Refusal.NONE
    detail: str = ""
    entry_id: EntryId | None = None
    expires_at: float = 0.0
