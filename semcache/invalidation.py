"""What was invalidated lately, so that no answer that was asked for before is kept after.

    Lookup ── Moment ──▶ ticket, lease ──▶ fetch ──▶ Store: add as pending ──▶ anything since that Moment? ──▶ publish
    Invalidate ──▶ mark above all before ──▶ note its subjects ──▶ remove what is there        └─ yes ──▶ remove, refuse

1. Of an answer and an invalidation that come at once, either the invalidation is noted before Store looks, and Store
   sees it; or the answer was added before, and the invalidation removes it: what is gone cannot be published.
2. Time is marks and not clocks: whoever asked before an invalidation began has a lower mark, at any replica.
3. Subjects are hashes: of what was purged not even a name is left.
4. The latest `NOTED_MAX` of a namespace are remembered. What was asked for before all of these is refused: nobody knows.
   A number and no setting: replicas must agree on it, or one forgets what another counts on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from semcache.entry import EntryId, ScopeId

NOTED_MAX = 1_000
_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Moment:
    """When something was asked for: by what had been invalidated until then."""

    epoch: int = 0
    """Of the namespace; 0: it was never emptied."""
    mark: int = 0
    """Of the last invalidation of a part of it; 0: there was none."""


@dataclass(frozen=True, slots=True)
class Noted:
    """One invalidation of a part of a namespace."""

    mark: int
    subject: str


def subjects(
    *,
    ids: Iterable[EntryId] = (),
    scope: ScopeId | None = None,
    tenant: str | None = None,
    tags: Iterable[str] = (),
) -> Collection[str]:
    """Return what stands for these: for what an invalidation names, or for all that an entry could be named by."""
    named = [
        *(("id", one) for one in ids),
        *(("tag", tag) for tag in tags),
        *([("scope", scope)] if scope else []),
        *([("tenant", tenant)] if tenant else []),
    ]
    return {hashlib.sha256(f"{kind}\n{value}".encode()).hexdigest()[:_DIGITS] for kind, value in named}


def is_outdated(asked: Moment, of: Collection[str], noted: Sequence[Noted]) -> bool:
    """Return whether what was asked for then was invalidated since; `noted` is what was noted since then, or longer."""
    return len(noted) >= NOTED_MAX or any(each.mark > asked.mark and each.subject in of for each in noted)
