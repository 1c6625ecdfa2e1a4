"""Keeping offered answers, a batch at a time: one inference, one look at what is there, one write, and one that publishes.

    Offer ─▶ retention ─▶ invalidated? ─▶ embed ─▶ reported wrong before? ─▶ add ─▶ invalidated? ─▶ publish ─▶ Kept
               │ refusal     │ refusal                │ refusal                       │ refusal        │
               └─────────────┴─────────────── the lease is given back ────────────────┴────────────────┘

1. A refusal is an answer. Whatever comes of an offer, its lease is given back: those who wait are not kept.
2. An answer is of the moment at which it was asked for, as its lease or its lookup says, so that what was fetched before
   an invalidation is not served after it. It is looked at before, to spare the work, and after it was added, when it
   counts (`invalidation.py`); until then it is there and not served.
3. An answer that was reported wrong is not kept again under the same prompt; another answer is.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from semcache.answers import Kept, Offer, Refusal
from semcache.backends import Backend, Backends
from semcache.drafts import identify
from semcache.entry import EmbeddedEntry, Entry, EntryId, Record, ScopeId, State
from semcache.errors import EmbedError, StoreError
from semcache.fills import Fills
from semcache.invalidation import Moment, is_outdated, subjects
from semcache.retention import objection
from semcache.store import EntryStore, EntryStores, Selector
from semcache.tickets import read_lease, read_ticket


@dataclass(slots=True)
class _Draft:
    offer: Offer
    scope_id: ScopeId
    entry_id: EntryId
    kept: Kept | None = None
    asked: Moment | None = None
    """None before it is known, and where nobody said: then it is asked for now."""
    entry: Entry | None = None

    def refuse(self, refusal: Refusal, detail: str = "") -> None:
        self.kept = Kept(refusal, detail)

    @property
    def subjects(self) -> Collection[str]:
        """Return what invalidations could name it by."""
        offer = self.offer
        return subjects(ids=[self.entry_id], scope=self.scope_id, tenant=offer.scope.tenant, tags=offer.tags)


class Storing:
    """Keeps answers."""

    def __init__(
        self, stores: EntryStores, backends: Backends, fills: Fills, draw: random.Random | None = None
    ) -> None:
        self._stores = stores
        self._backends = backends
        self._fills = fills
        self._draw = draw or random.Random()  # noqa: S311 - spreads the ends of answers, guards nothing

    async def store(self, offers: Sequence[Offer], now: float) -> Sequence[Kept]:
        """Keep answers; `now` is Unix time."""
        drafts = [_Draft(offer, *identify(offer)) for offer in offers]
        try:
            for each in drafts:
                refusal, detail = objection(each.offer)
                if refusal is not Refusal.NONE:
                    each.refuse(refusal, detail)
            await self._date(_open(drafts))
            for backend, group in self._by_backend(_open(drafts)).items():
                await self._keep(backend, group, now)
        finally:
            await self._fills.release_all([offer.lease_id for offer in offers])
        return [each.kept or Kept(Refusal.STORE) for each in drafts]

    async def _refuse_invalidated(self, drafts: Sequence[_Draft]) -> None:
        """Refuse what was asked for before an invalidation of it.

        Raises:
            StoreError: it is not known what was invalidated.
        """
        names = list(dict.fromkeys(each.offer.namespace.name for each in drafts))
        moments = dict(zip(names, await self._stores.moments(names), strict=True)) if names else {}
        for name, now in moments.items():
            mine = [each for each in drafts if each.offer.namespace.name == name]
            for each in mine:
                each.asked = each.asked or _asked(each) or now
            marks = [each.asked.mark for each in mine if each.asked]
            noted = await self._stores.invalidations(name, min(marks)) if min(marks) != now.mark else ()
            for each in mine:
                if each.asked and (each.asked.epoch != now.epoch or is_outdated(each.asked, each.subjects, noted)):
                    each.refuse(Refusal.INVALIDATED)

    async def _date(self, drafts: Sequence[_Draft]) -> None:
        try:
            await self._refuse_invalidated(drafts)
        except StoreError:
            for each in drafts:
                each.refuse(Refusal.STORE, "it is not known what was invalidated")

    def _by_backend(self, drafts: Sequence[_Draft]) -> Mapping[Backend, Sequence[_Draft]]:
        groups: dict[Backend, list[_Draft]] = {}
        for each in drafts:
            backend = self._backends.of(each.offer.namespace)
            if backend is None:
                each.refuse(Refusal.EMBEDDER, "the model is not loaded")
            else:
                groups.setdefault(backend, []).append(each)
        return groups

    async def _keep(self, backend: Backend, drafts: Sequence[_Draft], now: float) -> None:
        try:
            deadline = min(each.offer.deadline for each in drafts)
            vectors = await backend.embed([each.offer.turn.prompt for each in drafts], deadline)
            ids = tuple(dict.fromkeys(each.entry_id for each in drafts))
            there = {row.entry.id: row.entry for row in (await backend.store.scan(Selector(ids=ids), len(ids))).entries}
            rows: dict[EntryId, EmbeddedEntry] = {}
            for each, vector in zip(drafts, vectors, strict=True):
                each.entry = self._entry(each, there, now)
                if each.entry is not None:
                    rows[each.entry_id] = EmbeddedEntry(_pending(each.entry), vector.embedding)
            if rows:
                await backend.store.add(list(rows.values()))
                await self._publish(backend.store, _open(drafts))
        except EmbedError as error:
            for each in _open(drafts):
                each.refuse(Refusal.EMBEDDER, str(error))
        except StoreError as error:
            for each in _open(drafts):
                each.refuse(Refusal.STORE, str(error))

    async def _publish(self, store: EntryStore, added: Sequence[_Draft]) -> None:
        await self._refuse_invalidated(added)
        # Of two offers of one id the later one was added, and where that may not stay neither does.
        gone = tuple(each.entry_id for each in added if each.kept is not None)
        entries = {each.entry_id: each.entry for each in added if each.entry is not None and each.entry_id not in gone}
        if gone:
            await store.remove(Selector(ids=gone, state=State.PENDING), len(gone))
        if entries:
            await store.publish(list(entries.values()))
        for each in added:
            if (entry := entries.get(each.entry_id)) is not None:
                each.kept = Kept(entry_id=entry.id, expires_at=entry.expires_at)
            elif each.kept is None:
                each.refuse(Refusal.INVALIDATED)

    def _entry(self, each: _Draft, there: Mapping[EntryId, Entry], now: float) -> Entry | None:
        offer, before = each.offer, there.get(each.entry_id)
        if before is not None and _is_known_wrong(before, offer):
            each.refuse(Refusal.QUARANTINED)
            return None
        ttl = offer.namespace.ttl
        life = min(offer.ttl_seconds or ttl.default, ttl.max) * (1 - ttl.jitter * self._draw.random())
        return Entry(
            id=each.entry_id,
            namespace=offer.namespace.name,
            scope=each.scope_id,
            prompt=offer.turn.prompt,
            completion=offer.completion,
            created_at=now,
            expires_at=now + life,
            tenant=offer.scope.tenant or "",
            history=offer.turn.history if offer.namespace.history == "similar" else "",
            epoch=each.asked.epoch if each.asked else 0,
            tags=offer.tags,
            source=offer.source,
            # How often it was used says something of the prompt; judgements were of the answer before.
            record=Record(hits=before.record.hits if before is not None else 0, used_at=now),
        )


def _open(drafts: Sequence[_Draft]) -> Sequence[_Draft]:
    return [each for each in drafts if each.kept is None]


def _asked(each: _Draft) -> Moment | None:
    """Return the moment that the lease or the lookup was given at; None where neither says."""
    lease, lookup = read_lease(each.offer.lease_id), read_ticket(each.offer.lookup_id)
    if lease is not None and lease.group == each.scope_id:
        return lease.moment
    if lookup is not None and lookup.scope == each.scope_id:
        return lookup.moment
    return None


def _pending(entry: Entry) -> Entry:
    return replace(entry, record=replace(entry.record, state=State.PENDING))


def _is_known_wrong(before: Entry, offer: Offer) -> bool:
    is_quarantined = before.record.state is State.QUARANTINED
    return is_quarantined and before.completion.text.strip() == offer.completion.text.strip()
