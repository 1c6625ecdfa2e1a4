"""The steps of a batch of lookups over one model and its store; what each costs is paid once for all.

    exact: get and moments ─▶ embed: one inference ─▶ search: one for all ─▶ judge each ─▶ get what did not come ─▶ history

1. Before each step a draft says what it is if the step does not come to its end, so a search can be cut anywhere.
2. Until it is known what was invalidated it is a BYPASS: neither to be served nor to be stored. From then on a MISS.
3. What is served by meaning came with the search, or is read by its id at the end; either way it is of the scope and its
   epoch, live and young enough, or not served. Both are as right: a lookup that began before an invalidation came to its
   end may be answered as before it, and one that began later finds nothing to bring.
4. What the model did not read whole is found by the same words only: it cannot be said to mean the same as anything.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

import numpy as np

from semcache.answers import Outcome, Reason
from semcache.backends import Backend
from semcache.drafts import Draft, still_open
from semcache.entry import Entry, EntryId
from semcache.errors import EmbedError, StoreError
from semcache.invalidation import Moment
from semcache.judging import NEAREST, SIMILARITY_MIN, Judges
from semcache.policy import Step
from semcache.store import EntryStores, Question

_MISSES = {
    Step.NOTHING_NEAR: (Reason.NOT_FOUND, "search"),
    Step.GUARD: (Reason.GUARD, "guard"),
    Step.THRESHOLD: (Reason.LOW_CONFIDENCE, "verifier"),
    Step.CLOSED: (Reason.GATE_CLOSED, "gate"),
    Step.CONFIDENCE: (Reason.LOW_CONFIDENCE, "gate"),
    Step.CALLER: (Reason.LOW_CONFIDENCE, "verifier"),
    Step.EXPLORE: (Reason.EXPLORED, "explore"),
}
# Similarity from which the nearest is served more often than not. Below it most lookups are misses, for which nothing more
# than a candidate should travel.
_LIKELY = 0.9


class Search:
    """Looks for answers; several batches may be under way."""

    def __init__(self, stores: EntryStores, judges: Judges) -> None:
        self._stores = stores
        self._judges = judges

    async def run(self, backend: Backend, drafts: Sequence[Draft], now: float, deadline: float) -> None:
        """Better the answers of drafts; what cannot be bettered stays what it is. `now` is Unix time."""
        await self._exact(backend, drafts, now)
        await self._embed(backend, still_open(drafts), deadline)
        await self._nearest(backend, still_open(drafts), now)
        near = still_open(drafts)
        if near:
            await self._serve(backend, near, now, deadline)

    async def _exact(self, backend: Backend, drafts: Sequence[Draft], now: float) -> None:
        names = list(dict.fromkeys(each.ask.namespace.name for each in drafts))
        try:
            entries, moments = await self._get_at(backend, [each.entry_id for each in drafts], names, now)
        except StoreError:
            for each in drafts:
                each.settle(Outcome.BYPASS, Reason.STORE_AWAY, "exact")
            return
        moment_of = dict(zip(names, moments, strict=True))
        for each, entry in zip(drafts, entries, strict=True):
            each.moment = moment_of[each.ask.namespace.name]
            if entry is not None and _may_be_served(each, entry, now):
                each.hit(Outcome.EXACT, "exact", entry, now)
            elif reason := each.exact_only_reason:
                each.settle(Outcome.MISS, reason, "exact")
            else:
                each.expect(Reason.EMBEDDER, "embed")

    async def _get_at(
        self, backend: Backend, ids: Sequence[EntryId], names: Sequence[str], now: float
    ) -> tuple[Sequence[Entry | None], Sequence[Moment]]:
        """Get entries, and the moment of that: beside each other, where the store has to ask somebody for both."""
        known = self._stores.known_moments(names)
        if known is not None:
            return await backend.store.get(ids, now), known
        # Not gather, which makes a task for each: they take 40 µs, right after an inference.
        getting = asyncio.ensure_future(backend.store.get(ids, now))
        try:
            moments = await self._stores.moments(names)
        except BaseException:
            getting.cancel()
            await asyncio.gather(getting, return_exceptions=True)
            raise
        return await getting, moments

    async def _embed(self, backend: Backend, drafts: Sequence[Draft], deadline: float) -> None:
        if not drafts:
            return
        try:
            vectors = await backend.embed([each.ask.turn.prompt for each in drafts], deadline)
        except EmbedError:
            for each in drafts:
                each.settle(Outcome.MISS, Reason.EMBEDDER, "embed")
            return
        for each, vector in zip(drafts, vectors, strict=True):
            each.vector = vector
            if vector.tokens_unread:
                each.answer = each.answer._replace(tokens_unread=vector.tokens_unread)
                each.settle(Outcome.MISS, Reason.UNREAD, "embed")
            else:
                each.expect(Reason.STORE, "search")

    async def _nearest(self, backend: Backend, drafts: Sequence[Draft], now: float) -> None:
        if not drafts:
            return
        try:
            found = await backend.store.nearest([_question(each, now) for each in drafts], now)
        except StoreError:
            for each in drafts:
                each.settle(Outcome.MISS, Reason.STORE, "search")
            return
        for each, candidates in zip(drafts, found, strict=True):
            judgement = self._judges.judge(
                each.ask.namespace,
                backend.model,
                each.ask.turn.prompt,
                candidates,
                now,
                confidence_min=each.ask.confidence_min,
                explores=each.explores,
            )
            each.take(judgement)
            if not judgement.ruling.is_hit:
                each.settle(Outcome.MISS, *_MISSES[judgement.ruling.step])

    async def _serve(self, backend: Backend, drafts: Sequence[Draft], now: float, deadline: float) -> None:
        await self._get(backend, [each for each in drafts if each.entry is None], now)
        for each in still_open(drafts):
            entry = each.entry
            if entry is None or not _is_of_scope(each, entry, now) or not _may_be_served(each, entry, now):
                # Invalidated, quarantined or expired between the two questions.
                each.settle(Outcome.MISS, Reason.NOT_FOUND, "search")
            elif await self._has_its_history(backend, each, entry, deadline):
                each.hit(Outcome.SEMANTIC, "verifier", entry, now)
            else:
                each.settle(Outcome.MISS, Reason.OTHER_HISTORY, "history")

    async def _get(self, backend: Backend, drafts: Sequence[Draft], now: float) -> None:
        """Read what did not come with the search."""
        if not drafts:
            return
        try:
            entries = await backend.store.get([each.nearest_id for each in drafts], now)
        except StoreError:
            for each in drafts:
                each.settle(Outcome.MISS, Reason.STORE, "search")
            return
        for each, entry in zip(drafts, entries, strict=True):
            each.entry = entry

    async def _has_its_history(self, backend: Backend, each: Draft, entry: Entry, deadline: float) -> bool:
        """Return whether the conversation before means the same; equal ones are not compared."""
        mine, other = each.ask.turn.history, entry.history
        if mine == other or each.ask.namespace.history == "exact":
            return True
        if not mine or not other:
            return False
        try:
            one, two = await backend.embed([mine, other], deadline)
        except EmbedError:
            return False
        similarity = float(np.dot(one.embedding, two.embedding))
        return self._judges.is_same_talk(each.ask.namespace, backend.model, mine, other, similarity)


def _question(each: Draft, now: float) -> Question:
    vector = each.vector
    if vector is None:
        raise AssertionError("a draft is searched for once it is embedded")
    return Question(
        each.scope_id,
        each.moment.epoch,
        vector.embedding,
        limit=NEAREST,
        similarity_min=SIMILARITY_MIN,
        created_after=_oldest(each, now),
        whole_from=_LIKELY,
    )


def _is_of_scope(each: Draft, entry: Entry, now: float) -> bool:
    return entry.scope == each.scope_id and entry.is_live(now)


def _may_be_served(each: Draft, entry: Entry, now: float) -> bool:
    return entry.epoch == each.moment.epoch and entry.created_at >= _oldest(each, now)


def _oldest(each: Draft, now: float) -> float:
    return now - each.ask.max_age_seconds if math.isfinite(each.ask.max_age_seconds) else -math.inf
