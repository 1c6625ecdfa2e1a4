"""Lookup and Store: a batch of calls at a time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from protos.semcache.v1 import semcache_pb2 as wire
from semcache.answers import Answer, Ask, Offer
from semcache.api import rights
from semcache.api.reading import (
    Refused,
    decode,
    read_completion,
    read_scope,
    read_seconds,
    read_share,
    read_temperature,
    read_turn,
)
from semcache.api.writing import write_answer, write_kept
from semcache.cache import Cache
from semcache.config.source import NamespaceSource
from semcache.namespaces import Role
from semcache.settings import CacheSettings
from semcache.tickets import read_lease, read_ticket
from serving.calls import Call, Failure, Later, Reply
from serving.clock import Clock
from serving.metrics import Registry

T = TypeVar("T")


class Hot:
    """The handlers of a batch: bytes to values, one turn of the cache, values to bytes."""

    def __init__(
        self, cache: Cache, source: NamespaceSource, settings: CacheSettings, clock: Clock, registry: Registry
    ) -> None:
        self._cache = cache
        self._source = source
        self._settings = settings
        self._clock = clock
        self._refused = registry.counter("weir.semcache.calls.refused")
        self._lookup_time = registry.timer("weir.semcache.lookup_seconds")
        self._store_time = registry.timer("weir.semcache.store_seconds")

    async def lookup(self, calls: Sequence[Call]) -> Sequence[Reply | Later]:
        """Answer a batch of LookupRequests."""
        started = self._clock.steady()
        drafts = [self._read(self._ask, call) for call in calls]
        answers = iter(await self._cache.lookup([each for each in drafts if isinstance(each, Ask)]))
        replies = [_reply(next(answers)) if isinstance(each, Ask) else each for each in drafts]
        self._lookup_time.observe(self._clock.steady() - started, len(calls))
        return replies

    async def store(self, calls: Sequence[Call]) -> Sequence[Reply]:
        """Answer a batch of StoreRequests."""
        started = self._clock.steady()
        drafts = [self._read(self._offer, call) for call in calls]
        kept = iter(await self._cache.store([each for each in drafts if isinstance(each, Offer)]))
        replies = [write_kept(next(kept)) if isinstance(each, Offer) else each for each in drafts]
        self._store_time.observe(self._clock.steady() - started, len(calls))
        return replies

    def _read(self, make: Callable[[Call], T], call: Call) -> T | Failure:
        try:
            return make(call)
        except Refused as refused:
            self._refused.add()
            return refused.failure

    def _ask(self, call: Call) -> Ask:
        request = decode(wire.LookupRequest, call.message)
        namespace = rights.find(self._source.current, request.namespace)
        scope = read_scope(namespace.name, request.scope)
        rights.check(namespace, call.caller, Role.LOOKUP, scope.tenant)
        lookup_seconds = self._settings.lookup_timeout
        if request.HasField("deadline"):
            lookup_seconds = min(read_seconds("deadline", request.deadline) or lookup_seconds, lookup_seconds)
        deadline = self._clock.steady() + lookup_seconds
        return Ask(
            namespace,
            scope,
            read_turn(request.prompt),
            min(deadline, call.deadline),
            caller_deadline=call.deadline,
            max_age_seconds=read_seconds("max_age", request.max_age) if request.HasField("max_age") else math.inf,
            confidence_min=read_share("min_confidence", request.min_confidence),
            is_exact_only=request.exact_only,
            # Who may not store would have those who wait for him wait in vain.
            wants_lease=request.lease and rights.has(namespace, call.caller, Role.STORE, scope.tenant),
            fill_wait_seconds=read_seconds("fill_wait", request.fill_wait) if request.HasField("fill_wait") else 0.0,
        )

    def _offer(self, call: Call) -> Offer:
        request = decode(wire.StoreRequest, call.message)
        namespace = rights.find(self._source.current, request.namespace)
        scope = read_scope(namespace.name, request.scope)
        rights.check(namespace, call.caller, Role.STORE, scope.tenant)
        if not request.HasField("completion"):
            raise Refused.field("completion", "is missing")
        if request.lease_id and read_lease(request.lease_id) is None:
            raise Refused.field("lease_id", "not a lease that a lookup gave")
        if request.lookup_id and read_ticket(request.lookup_id) is None:
            raise Refused.field("lookup_id", "not a name that a lookup gave")
        if "" in request.tags:
            raise Refused.field("tags", "one is empty")
        return Offer(
            namespace,
            scope,
            read_turn(request.prompt),
            read_completion(request.completion),
            min(self._clock.steady() + self._settings.store_timeout, call.deadline),
            lease_id=request.lease_id,
            lookup_id=request.lookup_id,
            ttl_seconds=read_seconds("ttl", request.ttl),
            tags=tuple(dict.fromkeys(request.tags)),
            source=dict(request.source),
            temperature=read_temperature("temperature", request.temperature)
            if request.HasField("temperature")
            else None,
        )


def _reply(answer: Answer | asyncio.Future[Answer]) -> Reply | Later:
    return write_answer(answer) if isinstance(answer, Answer) else asyncio.create_task(_reply_later(answer))


async def _reply_later(answer: asyncio.Future[Answer]) -> Reply:
    return write_answer(await answer)
