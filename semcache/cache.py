"""The cache, put together: lookups with their deadlines and fetches, offers, and what is counted of both.

    lookup ─▶ drafts ─▶ by model ─▶ Search, cut at the first deadline ─┬─▶ Answer, lease and all
                                                                      └─▶ Later: more time, or somebody else's fetch

1. A batch is answered at its first deadline: who has more time goes on alone, and who has none gets what there is.
2. Nothing of a lookup outlives the longest deadline but a wait for a fetch, which its caller asked for and bounds.
3. Who waited looks again, once for each time a fetch ends, and is never explored: the point of waiting is not to fetch.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from semcache.answers import Answer, Ask, Kept, Lease, Offer, Outcome, Reason
from semcache.backends import Backend, Backends
from semcache.curating import Curating, Judged, Purge
from semcache.drafts import Draft, draft
from semcache.entry import EntryId, ScopeId
from semcache.fills import Fills, IsNear, Other, Wish
from semcache.judging import Judges
from semcache.lease import Leases
from semcache.namespaces import Namespace
from semcache.search import Search
from semcache.settings import CacheSettings
from semcache.store import EntryStores
from semcache.storing import Storing
from semcache.tallies import Tally
from semcache.tickets import Ticket
from semcache.upkeep import Upkeep
from serving.clock import Clock
from serving.metrics import Counter, Registry

log = logging.getLogger(__name__)

# What a reply needs to reach a caller who hangs up at his deadline.
_REPLY_SECONDS = 0.02

Later: TypeAlias = asyncio.Future[Answer]


class Cache:
    """Answers, keeps, and counts."""

    def __init__(  # noqa: PLR0913, PLR0917 - what it works with, put together in one place
        self,
        stores: EntryStores,
        backends: Backends,
        leases: Leases,
        judges: Judges,
        purge: Purge,
        settings: CacheSettings,
        clock: Clock,
        registry: Registry,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._registry = registry
        self._backends = backends
        self._judges = judges
        self._search = Search(stores, judges)
        self._fills = Fills(leases, registry)
        self._storing = Storing(stores, backends, self._fills)
        self.upkeep = Upkeep(
            clock, registry, interval_seconds=settings.uses_interval, waiting_max=settings.uses_waiting_max
        )
        self.curating = Curating(stores, backends, judges, self.upkeep, purge)
        self._waiting = 0
        self._searches: set[asyncio.Task[None]] = set()
        self._tallies: dict[str, Tally] = {}
        # Those of the registry, found without their labels.
        self._ended: dict[tuple[str, Outcome, Reason, str], Counter] = {}
        self._late = registry.counter("weir.semcache.searches.late")
        self._failed = registry.counter("weir.semcache.searches.failed")
        registry.gauge("weir.semcache.lookups.waiting", lambda: self._waiting)

    def tally(self, namespace: Namespace) -> Tally:
        """Return what was counted of a namespace."""
        known = self._tallies.get(namespace.name)
        return known if known is not None else self._tallies.setdefault(namespace.name, Tally())

    async def lookup(self, asks: Sequence[Ask]) -> Sequence[Answer | Later]:
        """Answer a batch; who waits for a fetch, or has more time than others, is answered later."""
        drafts = [draft(ask) for ask in asks]
        opened = [each for each in drafts if each.is_open]
        first = min((each.ask.deadline for each in opened), default=0.0)
        searching = await self._alone(opened[0]) if len(opened) == 1 else self._begin(opened) if opened else None
        if searching is not None:
            await self._until(searching, first)
        return [self._answer(each, searching, first) for each in drafts]

    async def store(self, offers: Sequence[Offer]) -> Sequence[Kept]:
        """Keep a batch of answers."""
        kept = await self._storing.store(offers, self._clock.wall())
        for offer, each in zip(offers, kept, strict=True):
            self.tally(offer.namespace).count_kept(each)
            self._registry.counter(
                "weir.semcache.offers", ns=offer.namespace.name, refusal=each.refusal.name.lower()
            ).add()
        return kept

    async def judge(self, namespace: Namespace, entry: EntryId, ticket: Ticket | None, *, is_right: bool) -> Judged:
        """Take a judgement of an answer.

        Raises:
            StoreError: it may not have been taken.
        """
        learned = await self.curating.judge(namespace, entry, ticket, is_right=is_right, now=self._clock.wall())
        if learned.is_learned:
            self.tally(namespace).count_judgement(is_right=is_right)
        word = "right" if is_right else "wrong"
        self._registry.counter("weir.semcache.feedback", ns=namespace.name, judgement=word).add()
        if learned.is_learned and learned.is_shadow_hit:
            self._registry.counter("weir.semcache.shadow.judged", ns=namespace.name, judgement=word).add()
        return learned

    async def release(self, lease_id: str) -> bool:
        """Give a lease back; return False if it had ended already."""
        return await self._fills.release(lease_id)

    async def start(self) -> None:
        """Begin to write records."""
        await self.upkeep.start()

    async def stop(self) -> None:
        """End what is under way, and write what is known of uses."""
        for each in self._searches:
            each.cancel()
        await asyncio.gather(*self._searches, return_exceptions=True)
        await self.upkeep.stop()

    # -- a search ------------------------------------------------------------------------------

    async def _alone(self, each: Draft) -> asyncio.Task[None] | None:
        """Search for one lookup; return what then takes a lease for it, if it is to have one.

        Its deadline is the search's, so nothing goes on without it, and no task has to be made and waited for.
        """
        await self._find([each])
        return self._go(self._take_leases([each])) if _may_fetch(each) else None

    def _begin(self, drafts: Sequence[Draft]) -> asyncio.Task[None]:
        return self._go(self._run(drafts))

    def _go(self, run: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        searching = asyncio.create_task(run)
        self._searches.add(searching)
        searching.add_done_callback(self._searches.discard)
        return searching

    async def _run(self, drafts: Sequence[Draft]) -> None:
        await self._find(drafts)
        # Not within the search's time: a lease that was granted and not heard of would keep others waiting.
        await self._take_leases(drafts)

    async def _take_leases(self, drafts: Sequence[Draft]) -> None:
        if wanted := [self._take_lease(each) for each in drafts if _may_fetch(each)]:
            await asyncio.gather(*wanted)

    async def _find(self, drafts: Sequence[Draft]) -> None:
        last = max(each.ask.deadline for each in drafts)
        try:
            async with asyncio.timeout(max(0.0, last - self._clock.steady())):
                now = self._clock.wall()
                runs = [self._search.run(*group, now, last) for group in self._by_backend(drafts).items()]
                # Most batches are of one model: no task is made for it.
                await (runs[0] if len(runs) == 1 else asyncio.gather(*runs))
        except TimeoutError:
            self._late.add()
        except Exception:  # whatever it is, callers can fetch for themselves; what they asked is in no log
            self._failed.add()
            log.exception("a search of %d lookups failed", len(drafts))

    def _by_backend(self, drafts: Sequence[Draft]) -> Mapping[Backend, Sequence[Draft]]:
        groups: dict[Backend, list[Draft]] = {}
        for each in drafts:
            each.backend = self._backends.of(each.ask.namespace)
            if each.backend is None:
                each.settle(Outcome.BYPASS, Reason.STORE_AWAY, "exact")
            else:
                groups.setdefault(each.backend, []).append(each)
        return groups

    async def _take_lease(self, each: Draft) -> None:
        ask = each.ask
        ttl_seconds, waits = ask.namespace.lease_ttl, ask.fill_wait_seconds > 0
        lease_id, awaited = await self._fills.take(
            _wish(each), self._is_near(each), ttl_seconds=ttl_seconds, waits=waits
        )
        if each.is_answered:
            await self._fills.release(lease_id)
        elif lease_id:
            each.answer = each.answer._replace(lease=Lease(lease_id, ttl_seconds))
        elif awaited is not None:
            each.answer = each.answer._replace(reason=Reason.FILLING, step="lease")
            each.awaited = awaited if waits else None

    def _is_near(self, each: Draft) -> IsNear:
        ask, backend = each.ask, each.backend

        def is_near(other: Other) -> bool:
            if backend is None or (ask.namespace.history == "similar" and other.history != ask.turn.history):
                return False
            return self._judges.is_near(ask.namespace, backend.model, ask.turn.prompt, other.prompt, other.similarity)

        return is_near

    # -- answering -----------------------------------------------------------------------------

    async def _until(self, searching: asyncio.Task[None], deadline: float) -> None:
        await asyncio.wait({searching}, timeout=max(0.0, deadline - self._clock.steady()))
        if searching.done():
            searching.result()

    def _answer(self, each: Draft, searching: asyncio.Task[None] | None, first: float) -> Answer | Later:
        if searching is None or self._waiting >= self._settings.waiting_max:
            return self._finish(each)
        has_time = not searching.done() and each.ask.deadline > first
        if not has_time and each.awaited is None:
            return self._finish(each)
        return asyncio.create_task(self._answer_later(each, searching))

    async def _answer_later(self, each: Draft, searching: asyncio.Task[None]) -> Answer:
        self._waiting += 1
        try:
            await self._until(searching, each.ask.deadline)
            until = self._wait_until(each.ask)
            while each.awaited is not None and await self._is_over(each.scope_id, each.awaited, until):
                each = self._again(each, until)
                await self._until(self._begin([each]), each.ask.deadline)
        except asyncio.CancelledError:
            each.is_answered = True
            if each.answer.lease is not None:
                await self._fills.release(each.answer.lease.id)
            raise
        finally:
            self._waiting -= 1
        return self._finish(each)

    def _wait_until(self, ask: Ask) -> float:
        wait_seconds = min(ask.fill_wait_seconds, ask.namespace.fill_wait_max)
        return min(self._clock.steady() + wait_seconds, ask.caller_deadline - _REPLY_SECONDS)

    async def _is_over(self, scope: ScopeId, awaited: EntryId, until: float) -> bool:
        """Wait for the fetch of another; return False if it did not end in time."""
        left_seconds = until - self._clock.steady()
        return left_seconds > 0 and await self._fills.wait(scope, awaited, left_seconds)

    def _again(self, each: Draft, until: float) -> Draft:
        following = draft(replace(each.ask, deadline=min(self._clock.steady() + self._settings.lookup_timeout, until)))
        following.explores = False
        return following

    def _finish(self, each: Draft) -> Answer:
        """Give an answer its name, and count it."""
        each.is_answered = True
        if each.answer.outcome is not Outcome.BYPASS:
            each.name()
        answer, namespace = each.answer, each.ask.namespace
        self.tally(namespace).count_answer(answer)
        self._count(namespace, each)
        self._count_shadow(namespace, each)
        if answer.entry is not None and each.backend is not None:
            self.upkeep.note(each.backend.store, answer.entry.id, self._clock.wall())
        return answer

    def _count(self, namespace: Namespace, each: Draft) -> None:
        answer = each.answer
        ended = (namespace.name, answer.outcome, answer.reason, answer.step)
        counter = self._ended.get(ended)
        if counter is None:
            counter = self._ended[ended] = self._registry.counter(
                "weir.semcache.lookups",
                ns=namespace.name,
                outcome=answer.outcome.name.lower(),
                reason=answer.reason.name.lower(),
                step=answer.step,
            )
        counter.add()
        if answer.guard:
            self._registry.counter("weir.semcache.guards", ns=namespace.name, guard=answer.guard).add()

    def _count_shadow(self, namespace: Namespace, each: Draft) -> None:
        if namespace.shadow is None or each.answer.outcome is Outcome.BYPASS:
            return
        is_hit = each.judgement is not None and each.judgement.is_shadow_hit
        is_exact = each.answer.outcome is Outcome.EXACT
        self.tally(namespace).count_shadow(namespace.shadow, is_hit=is_hit or is_exact)
        if each.judgement is not None:
            outcome = "hit" if is_hit else "miss"
            self._registry.counter("weir.semcache.shadow", ns=namespace.name, outcome=outcome).add()


def _may_fetch(each: Draft) -> bool:
    return each.ask.wants_lease and each.answer.outcome is Outcome.MISS and not each.is_answered


def _wish(each: Draft) -> Wish:
    turn, vector = each.ask.turn, each.vector
    # Only the same prompt will do where only the same is looked for.
    is_exact_only = vector is None or vector.tokens_unread or each.exact_only_reason
    embedding = None if vector is None or is_exact_only else vector.embedding
    return Wish(each.scope_id, each.entry_id, each.moment, turn.prompt, turn.history, embedding)
