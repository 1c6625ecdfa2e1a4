"""What the cache keeps: a prompt, its answer, and what happened to both since.

    Entry
    ├── who        id, namespace, scope, tenant, epoch      equal for all who may share it
    ├── what       prompt, completion, tags, source
    ├── until      created_at, expires_at                   Unix seconds
    └── how well   record: state, hits, right, wrong, used_at ──▶ worth

1. A completion is neutral: message, finish reason, usage. JSON and streams are made of it elsewhere.
2. `worth` orders the entries of a namespace for eviction and needs no clock to compare: it is the time at which an
   entry's use will have faded to one use. Each doubling of its use moves that by `HALF_LIFE_SECONDS`; an entry in
   quarantine, or more often wrong than right, is worth nothing and goes first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NewType

import numpy as np
import numpy.typing as npt

EntryId = NewType("EntryId", str)
"""A UUID in its usual spelling: 36 characters, lower case."""
ScopeId = NewType("ScopeId", str)
"""Fingerprint of a scope: 32 lower-case hex digits."""

Embedding = npt.NDArray[np.float32]
"""One dimension, unit length."""

# What "used lately" means where it competes with "used often": a day, so that an entry asked daily outlives one
# that was asked five times an hour ago and never again.
HALF_LIFE_SECONDS = 86_400.0


class State(IntEnum):
    """Whether an entry may be served."""

    LIVE = 0
    QUARANTINED = 1
    """Reported wrong: kept, so that it is not stored again at once, and never served."""
    PENDING = 2
    """Added, and not served before it is known that nothing of it was invalidated meanwhile."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider reported them; 0 where it did not."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer, whatever wire it came by."""

    text: str
    finish_reason: str = "stop"
    role: str = "assistant"
    model: str = ""
    """As the provider named what answered."""
    tool_calls: str = ""
    """JSON array; empty: none."""
    usage: Usage = Usage()
    body: bytes = field(default=b"", repr=False)
    """Opaque bytes of the caller, up to the namespace's cap."""
    media_type: str = ""
    """What `body` is."""


@dataclass(frozen=True, slots=True)
class Record:
    """What happened to an entry since it was stored."""

    state: State = State.LIVE
    hits: int = 0
    right: int = 0
    wrong: int = 0
    used_at: float = 0.0
    """Unix time of the last hit, or of storing."""

    @property
    def worth(self) -> float:
        """Return what eviction orders by; the least goes first."""
        if self.state is State.QUARANTINED or self.wrong > self.right:
            return 0.0
        return self.used_at + HALF_LIFE_SECONDS * math.log2(1 + self.hits + self.right)


@dataclass(frozen=True, slots=True)
class Entry:
    """A prompt and its completion, without the embedding."""

    id: EntryId
    namespace: str
    scope: ScopeId
    prompt: str = field(repr=False)
    completion: Completion = field(repr=False)
    created_at: float
    expires_at: float
    tenant: str = ""
    history: str = field(default="", repr=False)
    """The conversation before the prompt, where its namespace compares that by meaning; else it is in the scope."""
    epoch: int = 0
    """Of the namespace when the answer was asked for; another one now, and the entry is not there."""
    tags: tuple[str, ...] = ()
    source: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Where the answer came from: request id, writer, prompt version; free for the caller."""
    record: Record = Record()

    def is_live(self, now: float) -> bool:
        """Return whether it may be served, as far as it knows itself."""
        return self.record.state is State.LIVE and self.expires_at > now


@dataclass(frozen=True, slots=True)
class EmbeddedEntry:
    """An entry with the embedding of its prompt: what is stored and exported."""

    entry: Entry
    embedding: Embedding = field(repr=False, compare=False)
