"""A lookup under way: who it is about, and what is said if nothing better comes in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from semcache.answers import Answer, Ask, Offer, Outcome, Reason
from semcache.backends import Backend, Vector
from semcache.deixis import is_deictic
from semcache.entry import Entry, EntryId, ScopeId
from semcache.invalidation import Moment
from semcache.judging import Judgement
from semcache.namespaces import Namespace
from semcache.scope import canonical_json, entry_id
from semcache.tickets import Ticket, new_nonce, whose, write


@dataclass(slots=True)
class Draft:
    """One of a batch."""

    ask: Ask
    scope_id: ScopeId
    entry_id: EntryId
    answer: Answer = Answer(Outcome.BYPASS, Reason.STORE_AWAY, "exact")  # noqa: RUF009 - it never changes
    is_open: bool = True
    """Whether a better answer may come."""
    is_answered: bool = False
    """Whether the caller has his answer, or has gone: nothing may be taken for him any more."""
    moment: Moment = Moment()  # noqa: RUF009 - it never changes
    """When it was asked, by what had been invalidated."""
    backend: Backend | None = None
    """Model and store that answer for it."""
    vector: Vector | None = None
    judgement: Judgement | None = None
    entry: Entry | None = None
    """What the judgement would serve, once it is read."""
    explores: bool = True
    awaited: EntryId | None = None
    """Whose fetch to wait for."""

    def settle(self, outcome: Outcome, reason: Reason, step: str) -> None:
        """End it with an answer that has nothing to serve."""
        self.answer = self.answer._replace(outcome=outcome, reason=reason, step=step)
        self.is_open = False

    def expect(self, reason: Reason, step: str) -> None:
        """Say what it is if what comes next does not come: a miss for this reason, of which nothing else is known yet."""
        self.answer = _missed(reason, step)

    def take(self, judgement: Judgement) -> None:
        """Take note of what the nearest is thought of."""
        self.judgement = judgement
        candidate = judgement.candidate
        if candidate is not None:
            self.entry = candidate.entry
            self.answer = self.answer._replace(
                entry_id=candidate.id,
                similarity=candidate.similarity,
                confidence=judgement.ruling.confidence,
                guard=judgement.guard if not judgement.ruling.is_hit else "",
            )

    def hit(self, outcome: Outcome, step: str, entry: Entry, now: float) -> None:
        """End it with an entry."""
        is_exact = outcome is Outcome.EXACT
        self.answer = self.answer._replace(
            outcome=outcome,
            reason=Reason.NONE,
            step=step,
            entry=entry,
            entry_id=entry.id,
            similarity=1.0 if is_exact else self.answer.similarity,
            confidence=1.0 if is_exact else self.answer.confidence,
            age_seconds=max(0.0, now - entry.created_at),
        )
        self.is_open = False

    @property
    def nearest_id(self) -> EntryId:
        """Return what the judgement would serve."""
        if self.answer.entry_id is None:
            raise AssertionError("nothing was near")
        return self.answer.entry_id

    def name(self) -> None:
        """Give the answer the name that feedback and the offer bring back."""
        judgement = self.judgement
        score = judgement.score if judgement is not None else None
        answer = self.answer
        ticket = Ticket(
            self.ask.namespace.name,
            self.scope_id,
            self.moment,
            answer.entry_id,
            score,
            new_nonce(),
            answer.similarity,
            whose(self.scope_id, self.ask.scope.tenant),
        )
        self.answer = self.answer._replace(lookup_id=write(ticket), scope_id=self.scope_id)

    @property
    def exact_only_reason(self) -> Reason:
        """Return why only the same prompt will do; `Reason.NONE` where others may."""
        if self.ask.is_exact_only or not self.ask.namespace.semantic:
            return Reason.EXACT_ONLY
        return Reason.DEICTIC if is_deictic(self.ask.turn.prompt) else Reason.NONE


@lru_cache
def _missed(reason: Reason, step: str) -> Answer:
    return Answer(Outcome.MISS, reason, step)


def identify(asked: Ask | Offer) -> tuple[ScopeId, EntryId]:
    """Return the fingerprint of what must be equal, and the id of the prompt in it."""
    scope, turn = asked.scope, asked.turn
    if asked.namespace.history == "exact":
        fingerprint = scope.id if turn.others is None else replace(scope, history=turn.others).id
        return fingerprint, entry_id(fingerprint, turn.prompt)
    # Compared by meaning, what was said parts no scopes; it still is what makes a prompt the same.
    fingerprint = replace(scope, history=turn.fixed).id
    return fingerprint, entry_id(fingerprint, canonical_json([turn.others, turn.prompt]))


def draft(ask: Ask) -> Draft:
    """Begin a lookup; one that may not be looked for is settled at once."""
    namespace = ask.namespace
    made = Draft(ask, *identify(ask))
    if not namespace.enabled:
        made.settle(Outcome.BYPASS, Reason.DISABLED, "scope")
    elif missing := namespace.missing(ask.scope):
        made.settle(Outcome.BYPASS, Reason.MISSING_SCOPE, "scope")
        made.answer = made.answer._replace(missing=missing)
    elif _is_too_long(namespace, ask):
        made.settle(Outcome.BYPASS, Reason.TOO_LONG, "scope")
    return made


def still_open(drafts: Sequence[Draft]) -> Sequence[Draft]:
    """Return those that a better answer may come for."""
    return [each for each in drafts if each.is_open]


def _is_too_long(namespace: Namespace, ask: Ask) -> bool:
    bounds, turn = namespace.retention, ask.turn
    if len(turn.prompt.encode()) > bounds.prompt_bytes_max:
        return True
    return namespace.history == "similar" and len(turn.history.encode()) > bounds.history_bytes_max
