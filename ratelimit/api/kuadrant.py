"""Kuadrant's rate limit service, for its gateways as they are: `kuadrant.service.ratelimit.v1.RateLimitService`.

    CheckRateLimit   would one more hit fit?           Reserve ──▶ id ──▶ Commit   the actual replaces the estimate
    Report           spend, whatever is left                        └──▶ (ttl)     given back by itself

1. As there: a check asks for one hit whatever it says, a report of 0 hits is of 1, a domain without rules limits nothing,
   and a commit whose reservation is late or unknown is a report.
2. Of Envoy's messages, hits of a descriptor's own and overrides count; refunds are refused, as there is no verb for them.
3. Rights are those of LimiterService: `ask` for CheckRateLimit and Reserve, `settle` for Report and Commit. Kuadrant's
   gateways prove nothing about themselves, so `anyone` has to have them.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import replace

from google.protobuf.message import Message

from protos.interop.kuadrant.v1 import kuadrant_pb2 as wire
from protos.interop.rls.v1 import rls_pb2 as rls
from protos.ratelimit.v1 import limiter_pb2
from ratelimit.api.desk import Begin, Desk, Task
from ratelimit.api.limiter_messages import hold_times_ms, read_milliseconds
from ratelimit.api.rls_messages import OwnEntries, encode, read_descriptors
from ratelimit.api.tickets import admitted_at, read_ticket, write_ticket
from ratelimit.draw import HITS_MAX, ID_CHARACTERS_MAX, Op
from ratelimit.drawing import Wish
from ratelimit.errors import BadRequest
from ratelimit.limiter import Ask
from ratelimit.plan import Plan
from ratelimit.rights import Role
from ratelimit.verdict import Verdict
from serving.calls import Caller, Failure, Method, StatusCode
from serving.refusal import Refused

SERVICE = "kuadrant.service.ratelimit.v1.RateLimitService"


class KuadrantApi:
    """The methods of the service."""

    def __init__(self, desk: Desk, own_entries: OwnEntries) -> None:
        self._desk = desk
        self._own_entries = own_entries

    def methods(self) -> list[Method]:
        """Return them."""
        verbs: dict[str, tuple[type[Message], Begin]] = {
            "CheckRateLimit": (rls.RateLimitRequest, self._check),
            "Report": (rls.RateLimitRequest, self._report),
            "Reserve": (wire.ReserveRequest, self._reserve),
            "Commit": (wire.CommitRequest, self._commit),
        }
        return [
            Method(f"/{SERVICE}/{name}", self._desk.handler(kind, verb, f"Kuadrant.{name}"), label=f"Kuadrant.{name}")
            for name, (kind, verb) in verbs.items()
        ]

    def _check(self, request: rls.RateLimitRequest, caller: Caller, deadline: float) -> Task:
        plan = self._plan(request.domain, request.descriptors, caller, Role.ASK, lambda _: 1)
        return Task(Ask(plan, 1, deadline, wish=Wish(Op.CHARGE, is_look=True)), _response)

    def _report(self, request: rls.RateLimitRequest, caller: Caller, deadline: float) -> Task:
        plan = self._plan(
            request.domain, request.descriptors, caller, Role.SETTLE, lambda own: own or request.hits_addend or 1
        )
        return Task(Ask(plan, 1, deadline, wish=Wish(Op.FORCE)), _reported)

    def _reserve(self, request: wire.ReserveRequest, caller: Caller, deadline: float) -> Task:
        plan = self._plan(request.domain, request.descriptors, caller, Role.ASK, lambda _: request.amount)
        wish = Wish(Op.RESERVE, life_ms=read_milliseconds("ttl", request.ttl))
        ask = Ask(plan, 1, deadline, secrets.token_urlsafe(16), wish)
        return Task(ask, lambda verdict: _reserved(ask, verdict))

    def _commit(self, request: wire.CommitRequest, caller: Caller, deadline: float) -> Task:
        plan = self._plan(request.domain, request.descriptors, caller, Role.SETTLE, lambda _: request.actual_amount)
        try:
            ticket = read_ticket(request.reservation_id)
        except Refused:
            return Task(Ask(plan, 1, deadline, wish=Wish(Op.FORCE)), _committed)
        wish = Wish(Op.SETTLE, admitted_at=admitted_at(ticket, self._desk.clock.wall()))
        return Task(Ask(plan, 1, deadline, ticket.request_id[:ID_CHARACTERS_MAX], wish), _committed)

    def _plan(
        self,
        domain: str,
        descriptors: Iterable[rls.RateLimitDescriptor],
        caller: Caller,
        role: Role,
        hits_of: Callable[[int | None], int],
    ) -> Plan:
        self._desk.allow(caller, role, domain)
        try:
            read = read_descriptors(descriptors, self._own_entries)
        except BadRequest as error:
            raise Refused(Failure(StatusCode.INVALID_ARGUMENT, str(error))) from None
        if any(each.is_refund for each in read):
            raise Refused.field("descriptors.is_negative_hits", "nothing is refunded here")
        return self._desk.plan_any(
            domain, tuple(replace(each, hits=min(hits_of(each.hits), HITS_MAX)) for each in read)
        )


def _response(verdict: Verdict) -> rls.RateLimitResponse:
    return rls.RateLimitResponse.FromString(encode(verdict))


def _reported(verdict: Verdict) -> rls.RateLimitResponse:
    return _response(replace(verdict, is_over=False))


def _reserved(ask: Ask, verdict: Verdict) -> wire.ReserveResponse:
    if verdict.is_over:
        return wire.ReserveResponse(code=rls.RateLimitResponse.OVER_LIMIT)
    _, longest_ms = hold_times_ms(verdict)
    # Without descriptors: a commit brings them again.
    ticket = limiter_pb2.Ticket(request_id=ask.request_id, admitted_at_ms=int(verdict.at * 1000), ttl_ms=longest_ms)
    return wire.ReserveResponse(code=rls.RateLimitResponse.OK, reservation_id=write_ticket(ticket))


def _committed(verdict: Verdict) -> wire.CommitResponse:
    return wire.CommitResponse(reservation_released=any(standing.is_ended for standing in verdict.standings))
