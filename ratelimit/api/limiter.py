"""`weir.ratelimit.v1.LimiterService`: calls to asks, one decision for a batch, verdicts to answers.

    unary methods ── Sequence[Call] ──┐
                                      ├──▶ Task (ask, how to write) ──▶ Desk.decide ──▶ written
    Exchange ── calls of a message ───┘

Each verb is a function from its request to a `Task`; everything else is the same for all of them. What descriptors mean under
the rules in force is remembered, as for Envoy's calls: an amount changes none of it.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import lru_cache

import grpc
from google.protobuf.message import Message

from protos.ratelimit.v1 import limiter_pb2 as wire
from ratelimit.api.desk import Begin, Desk, Task
from ratelimit.api.limiter_messages import (
    granted,
    hold_times_ms,
    read_amount,
    read_descriptors,
    read_id,
    read_milliseconds,
    write_verdict,
)
from ratelimit.api.plans import MESSAGE_BYTES_MAX
from ratelimit.api.tickets import admitted_at, read_ticket, write_ticket
from ratelimit.draw import Op
from ratelimit.drawing import Wish
from ratelimit.limiter import Ask
from ratelimit.plan import Plan
from ratelimit.rights import Role
from ratelimit.verdict import Verdict
from serving.calls import Caller, Failure, Method
from serving.grpc_handlers import Context, Paths, caller_of
from serving.refusal import Refused, decode

SERVICE = "weir.ratelimit.v1.LimiterService"


class LimiterApi:
    """The methods of the service."""

    def __init__(self, desk: Desk, *, exchange_calls_max: int, plans_max: int) -> None:
        self._desk = desk
        # Callers repeat themselves in all but the amount. By what was asked under which rules, and no caller fills it with
        # a few large ones.
        self._planned = lru_cache(maxsize=plans_max)(self._plan_anew)
        self._exchange_calls_max = exchange_calls_max
        self._verbs: Mapping[str, tuple[type[Message], Begin]] = {
            "Check": (wire.CheckRequest, self._check),
            "Charge": (wire.ChargeRequest, self._charge),
            "Reserve": (wire.ReserveRequest, self._reserve),
            "Settle": (wire.SettleRequest, self._settle),
            "Release": (wire.ReleaseRequest, self._release),
            "Refund": (wire.RefundRequest, self._refund),
        }

    def methods(self) -> list[Method]:
        """Return the unary methods."""
        return [
            Method(f"/{SERVICE}/{name}", self._desk.handler(kind, verb, name))
            for name, (kind, verb) in self._verbs.items()
        ]

    def streams(self) -> grpc.GenericRpcHandler:
        """Return the stream."""
        return Paths({f"/{SERVICE}/Exchange": grpc.stream_stream_rpc_method_handler(self._exchange)})

    # -- batches -------------------------------------------------------------------------------

    async def _exchange(self, messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        caller = caller_of(context)
        remaining: float | None = context.time_remaining()
        deadline = math.inf if remaining is None else self._desk.clock.steady() + remaining
        async for message in messages:
            try:
                request = decode(wire.ExchangeRequest, message)
            except Refused as refused:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, refused.failure.detail)
            if len(request.calls) > self._exchange_calls_max:
                detail = f"calls: {len(request.calls)} of them, at most {self._exchange_calls_max} are taken"
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, detail)
            yield (await self._exchanged(request, caller, deadline)).SerializeToString()

    async def _exchanged(self, request: wire.ExchangeRequest, caller: Caller, deadline: float) -> wire.ExchangeResponse:
        tasks = [self._begin_one(call, caller, deadline) for call in request.calls]
        response = wire.ExchangeResponse()
        for call, answer in zip(request.calls, await self._desk.answer(tasks, "Exchange"), strict=True):
            written = response.answers.add(id=call.id)
            if isinstance(answer, Failure):
                written.failure.code, written.failure.detail = answer.status, answer.detail
            else:
                getattr(written, str(call.WhichOneof("call"))).CopyFrom(answer)
        return response

    def _begin_one(self, call: wire.ExchangeRequest.Call, caller: Caller, deadline: float) -> Task | Failure:
        name = call.WhichOneof("call")
        try:
            if name is None:
                raise Refused.field("call", "is missing")
            _, verb = self._verbs[name.capitalize()]
            return verb(getattr(call, name), caller, deadline)
        except Refused as refused:
            return refused.failure

    # -- verbs ---------------------------------------------------------------------------------

    def _check(self, request: wire.CheckRequest, caller: Caller, deadline: float) -> Task:
        plan = self._plan(request, caller, Role.ASK)
        ask = Ask(plan, 1, deadline, wish=Wish(Op.CHARGE, is_look=True))
        return Task(ask, lambda verdict: wire.CheckResponse(verdict=write_verdict(plan.steps, verdict)))

    def _charge(self, request: wire.ChargeRequest, caller: Caller, deadline: float) -> Task:
        plan = self._plan(request, caller, Role.SETTLE if request.force else Role.ASK)
        wish = Wish(Op.FORCE if request.force else Op.CHARGE)
        ask = Ask(plan, 1, deadline, read_id(request.request_id), wish)
        return Task(ask, lambda verdict: wire.ChargeResponse(verdict=write_verdict(plan.steps, verdict)))

    def _refund(self, request: wire.RefundRequest, caller: Caller, deadline: float) -> Task:
        plan = self._plan(request, caller, Role.REFUND)
        ask = Ask(plan, 1, deadline, read_id(request.request_id), Wish(Op.REFUND))
        return Task(ask, lambda verdict: wire.RefundResponse(verdict=write_verdict(plan.steps, verdict)))

    def _reserve(self, request: wire.ReserveRequest, caller: Caller, deadline: float) -> Task:
        plan = self._plan(request, caller, Role.ASK, default=0)
        wish = Wish(Op.RESERVE, life_ms=read_milliseconds("ttl", request.ttl))
        ask = Ask(plan, 1, deadline, read_id(request.request_id) or secrets.token_urlsafe(16), wish)
        return Task(ask, lambda verdict: _reserved(request, ask, verdict))

    def _settle(self, request: wire.SettleRequest, caller: Caller, deadline: float) -> Task:
        ticket = read_ticket(request.reservation_id)
        self._desk.allow(caller, Role.SETTLE, ticket.domain)
        if request.HasField("amount"):
            ticket.amount.CopyFrom(request.amount)
        elif not ticket.HasField("amount") and not all(each.HasField("amount") for each in ticket.descriptors):
            raise Refused.field("amount", "is missing, and nothing was estimated")
        ask = self._ask_for(ticket, Op.SETTLE, deadline)
        return Task(ask, lambda verdict: wire.SettleResponse(verdict=_written(ask, verdict), held=_was_held(verdict)))

    def _release(self, request: wire.ReleaseRequest, caller: Caller, deadline: float) -> Task:
        ticket = read_ticket(request.reservation_id)
        self._desk.allow(caller, Role.SETTLE, ticket.domain)
        ask = self._ask_for(ticket, Op.RELEASE, deadline)
        return Task(ask, lambda verdict: wire.ReleaseResponse(verdict=_written(ask, verdict), held=_was_held(verdict)))

    def _plan(
        self,
        request: wire.CheckRequest | wire.ChargeRequest | wire.ReserveRequest | wire.RefundRequest,
        caller: Caller,
        role: Role,
        default: int = 1,
    ) -> Plan:
        self._desk.allow(caller, role, request.domain)
        amount = request.amount if request.HasField("amount") else None
        return self._plan_of(request.domain, request.descriptors, amount, default)

    def _plan_of(
        self, domain: str, descriptors: Sequence[wire.Descriptor], amount: wire.Amount | None, default: int
    ) -> Plan:
        known = tuple([descriptor.SerializeToString() for descriptor in descriptors])
        if sum(map(len, known)) > MESSAGE_BYTES_MAX or any(each.HasField("amount") for each in descriptors):
            return self._desk.plan(domain, read_descriptors(descriptors, amount, default=default))
        plan = self._planned(self._desk.rules.generation, domain, known)
        hits, kinds = (default, ()) if amount is None else read_amount(amount)
        return self._desk.under(plan).with_amount(hits, kinds)

    def _plan_anew(self, _generation: int, domain: str, descriptors: Sequence[bytes]) -> Plan:
        wanted = [wire.Descriptor.FromString(each) for each in descriptors]
        return self._desk.plan_of_rules(domain, read_descriptors(wanted, None, default=0))

    def _ask_for(self, ticket: wire.Ticket, op: Op, deadline: float) -> Ask:
        amount = ticket.amount if ticket.HasField("amount") else None
        plan = self._plan_of(ticket.domain, ticket.descriptors, amount, 0)
        wish = Wish(op, admitted_at=admitted_at(ticket, self._desk.clock.wall()))
        return Ask(plan, 1, deadline, read_id(ticket.request_id), wish)


def _reserved(request: wire.ReserveRequest, ask: Ask, verdict: Verdict) -> wire.ReserveResponse:
    response = wire.ReserveResponse(verdict=_written(ask, verdict))
    if verdict.is_over:
        return response
    shortest_ms, longest_ms = hold_times_ms(verdict)
    ticket = wire.Ticket(
        request_id=ask.request_id,
        domain=request.domain,
        descriptors=request.descriptors,
        admitted_at_ms=int(verdict.at * 1000),
        ttl_ms=longest_ms,
    )
    if request.HasField("amount"):
        ticket.amount.CopyFrom(request.amount)
    response.reservation_id, response.granted = write_ticket(ticket), granted(verdict)
    if shortest_ms:
        response.deadline.FromMilliseconds(int(verdict.at * 1000) + shortest_ms)
    return response


def _written(ask: Ask, verdict: Verdict) -> wire.Verdict:
    return write_verdict(ask.plan.steps, verdict)


def _was_held(verdict: Verdict) -> bool:
    return any(standing.is_ended for standing in verdict.standings)
