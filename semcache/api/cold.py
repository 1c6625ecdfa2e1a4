"""ReleaseLease, Invalidate, Feedback, Describe and RollBack: few calls, each for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from google.protobuf.message import Message

from protos.semcache.v1 import semcache_pb2 as wire
from semcache.api import rights
from semcache.api.reading import Refused, decode, read_scope
from semcache.api.writing import write_state
from semcache.cache import Cache
from semcache.config.source import NamespaceSource
from semcache.curating import Forgotten
from semcache.entry import EntryId, ScopeId
from semcache.errors import StoreError, StoreRefused
from semcache.namespaces import Namespace, Role
from semcache.scope import is_entry_id, is_scope_id
from semcache.store import Selector
from semcache.tickets import Ticket, read_lease, read_ticket, whose
from serving.calls import Call, Caller, Failure, PromptHandler, Reply, StatusCode
from serving.clock import Clock
from serving.rights import Identity

Answering: TypeAlias = Callable[[Call], Awaitable[Message]]


class Cold:
    """The handlers of what is not asked often."""

    def __init__(self, cache: Cache, source: NamespaceSource, clock: Clock) -> None:
        self._cache = cache
        self._source = source
        self._clock = clock
        self._since = clock.wall()

    def handlers(self) -> dict[str, PromptHandler]:
        """Return a handler for each method, by its name."""
        methods: dict[str, Answering] = {
            "ReleaseLease": self._release,
            "Invalidate": self._invalidate,
            "Feedback": self._feedback,
            "Describe": self._describe,
            "RollBack": self._roll_back,
        }
        return {name: _each(method) for name, method in methods.items()}

    async def _release(self, call: Call) -> wire.ReleaseLeaseResponse:
        request = decode(wire.ReleaseLeaseRequest, call.message)
        namespace = rights.find(self._source.current, request.namespace)
        _check_some_tenant(namespace, call.caller, Role.LOOKUP)
        if read_lease(request.lease_id) is None:
            raise Refused.field("lease_id", "not a lease that a lookup gave" if request.lease_id else "is missing")
        return wire.ReleaseLeaseResponse(released=await self._cache.release(request.lease_id))

    async def _invalidate(self, call: Call) -> wire.InvalidateResponse:
        request = decode(wire.InvalidateRequest, call.message)
        namespace = rights.find(self._source.current, request.namespace)
        curating, now = self._cache.curating, self._clock.wall()
        if request.WhichOneof("target") == "everything":
            rights.check(namespace, call.caller, Role.INVALIDATE)
            return _write_forgotten(
                await curating.empty(namespace, now, is_dry_run=request.dry_run, must_erase=request.erase)
            )
        selector, tenant = _selector(namespace, request)
        rights.check(namespace, call.caller, Role.INVALIDATE, tenant)
        if request.dry_run:
            return wire.InvalidateResponse(entries=await curating.count(selector))
        return _write_forgotten(await curating.invalidate(namespace, selector, now, must_erase=request.erase))

    async def _feedback(self, call: Call) -> wire.FeedbackResponse:
        request = decode(wire.FeedbackRequest, call.message)
        namespace = rights.find(self._source.current, request.namespace)
        _check_some_tenant(namespace, call.caller, Role.FEEDBACK)
        ticket = read_ticket(request.lookup_id)
        if request.lookup_id and (ticket is None or ticket.namespace != namespace.name):
            raise Refused.field("lookup_id", "not a name that a lookup of this namespace gave")
        entry = EntryId(request.entry_id) if request.entry_id else ticket.entry if ticket is not None else None
        if entry is None:
            raise Refused.field("entry_id", "is missing, and lookup_id names none")
        _check_entry_id(entry)
        if request.judgement not in {wire.JUDGEMENT_RIGHT, wire.JUDGEMENT_WRONG}:
            raise Refused.field("judgement", "neither RIGHT nor WRONG" if request.judgement else "is missing")
        if ticket is not None:
            _check_whose(namespace, call.caller, ticket)
        found = await self._cache.curating.find(namespace, entry)
        if found is not None and not rights.has(namespace, call.caller, Role.FEEDBACK, found.tenant or None):
            # As if it were gone: that another tenant has asked something is none of the caller's business.
            return wire.FeedbackResponse()
        learned = await self._cache.judge(namespace, entry, ticket, is_right=request.judgement == wire.JUDGEMENT_RIGHT)
        return wire.FeedbackResponse(quarantined=learned.is_quarantined, learned=learned.is_learned)

    async def _describe(self, call: Call) -> wire.DescribeResponse:
        request = decode(wire.DescribeRequest, call.message)
        if request.namespace:
            namespace = rights.find(self._source.current, request.namespace)
            rights.check(namespace, call.caller, Role.ADMINISTER)
            asked: Sequence[Namespace] = [namespace]
        else:
            who = Identity(call.caller.sans, call.caller.token)
            asked = [each for each in self._source.current.members if each.allows(who, Role.ADMINISTER)]
        states = [await self._cache.curating.describe(each, self._cache.tally(each)) for each in asked]
        return wire.DescribeResponse(namespaces=[write_state(state, self._since) for state in states])

    async def _roll_back(self, call: Call) -> wire.RollBackResponse:
        request = decode(wire.RollBackRequest, call.message)
        namespace = rights.find(self._source.current, request.namespace)
        rights.check(namespace, call.caller, Role.ADMINISTER)
        try:
            return wire.RollBackResponse(embedding_model=await self._cache.curating.roll_back(namespace))
        except StoreRefused as error:
            raise Refused(Failure(StatusCode.FAILED_PRECONDITION, str(error))) from None


def _each(method: Answering) -> PromptHandler:
    async def reply(call: Call) -> Reply:
        try:
            return (await method(call)).SerializeToString()
        except Refused as refused:
            return refused.failure
        except StoreError as error:
            return Failure(StatusCode.UNAVAILABLE, str(error))

    async def handle(calls: Sequence[Call]) -> Sequence[Reply]:
        return await asyncio.gather(*map(reply, calls))

    return handle


def _write_forgotten(forgotten: Forgotten) -> wire.InvalidateResponse:
    return wire.InvalidateResponse(entries=forgotten.entries, epoch=forgotten.epoch, erased=forgotten.is_erased)


def _check_some_tenant(namespace: Namespace, caller: Caller, role: Role) -> None:
    """Let a caller pass who may do this for anybody at all; for whom is looked at where that is known."""
    if not any(rights.has(namespace, caller, role, tenant) for tenant in _tenants(namespace)):
        rights.check(namespace, caller, role)


def _check_whose(namespace: Namespace, caller: Caller, ticket: Ticket) -> None:
    """Let a caller pass who may give feedback for the tenant that the lookup was of."""
    own = (tenant for tenant in _tenants(namespace) if rights.has(namespace, caller, Role.FEEDBACK, tenant))
    if not any(ticket.whose == whose(ticket.scope, tenant) for tenant in own):
        rights.check(namespace, caller, Role.FEEDBACK)


def _tenants(namespace: Namespace) -> set[str]:
    return {tenant for rule in namespace.callers for tenant in rule.tenants}


def _selector(namespace: Namespace, request: wire.InvalidateRequest) -> tuple[Selector, str | None]:
    """Return what is meant, and the tenant whose it is where that is known."""
    name = namespace.name
    match request.WhichOneof("target"):
        case "entry_id":
            _check_entry_id(request.entry_id)
            return Selector(namespace=name, ids=(EntryId(request.entry_id),)), None
        case "tag" if request.tag:
            return Selector(namespace=name, tag=request.tag), None
        case "scope":
            scope = read_scope(name, request.scope)
            return Selector(namespace=name, scope=scope.id), scope.tenant
        case "scope_id":
            if not is_scope_id(request.scope_id):
                raise Refused.field("scope_id", "not the fingerprint of a scope")
            return Selector(namespace=name, scope=ScopeId(request.scope_id)), None
        case "tenant" if request.tenant:
            return Selector(namespace=name, tenant=request.tenant), request.tenant
        case "tag" | "tenant" as field:
            raise Refused.field(field, "is empty")
    raise Refused.field("target", "is missing")


def _check_entry_id(text: str) -> None:
    if not is_entry_id(text):
        raise Refused.field("entry_id", "not the id of an entry")
