"""`weir.ratelimit.v1.AdminService`, over gRPC and, method by method, as JSON on the debug port.

Nobody asks often: each call is answered by itself, a mending in two round trips (a look, and what it came to).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from google.protobuf.message import Message

from protos.ratelimit.v1 import admin_pb2 as wire
from protos.ratelimit.v1 import limiter_pb2
from ratelimit.api.admin_holds import AdminHolds
from ratelimit.api.admin_limits import AdminLimits
from ratelimit.api.desk import Desk
from ratelimit.api.limiter_messages import read_descriptors, read_id, write_verdict
from ratelimit.descriptor import Descriptor, Entry
from ratelimit.draw import Op
from ratelimit.drawing import Wish
from ratelimit.explaining import Way, explain, traits
from ratelimit.limiter import Ask
from ratelimit.plan import Plan, Step
from ratelimit.rights import Role
from ratelimit.rules import Rule, Show
from ratelimit.spenders import Spender, Spenders
from ratelimit.verdict import Verdict
from serving.calls import Call, Failure, Method, PromptHandler, Reply
from serving.refusal import Refused, decode

SERVICE = "weir.ratelimit.v1.AdminService"

SPENDERS_COUNT = 20
RULES_PAGE_MAX = 1_000

Answering: TypeAlias = Callable[[Any, float], Awaitable[Message]]
_LOOK = Wish(Op.CHARGE, is_look=True)


class AdminApi:
    """The methods of the service; without `spenders` nobody is listed."""

    def __init__(self, desk: Desk, spenders: Spenders | None, limits: AdminLimits, show: Show) -> None:
        self._desk = desk
        self._spenders = spenders
        self._show = show
        self.verbs: Mapping[str, tuple[type[Message], Answering]] = {
            "Explain": (wire.ExplainRequest, self._explain),
            "GetCounters": (wire.GetCountersRequest, self._get_counters),
            "ListHolds": (wire.ListHoldsRequest, AdminHolds(desk, show).list),
            "ResetCounters": (wire.ResetCountersRequest, self._reset_counters),
            "Grant": (wire.GrantRequest, self._grant),
            "ListSpenders": (wire.ListSpendersRequest, self._list_spenders),
            "ListRules": (wire.ListRulesRequest, self._list_rules),
            "SetLimit": (wire.SetLimitRequest, limits.set),
            "ClearLimit": (wire.ClearLimitRequest, limits.clear),
            "ListLimits": (wire.ListLimitsRequest, limits.list),
        }

    def methods(self) -> list[Method]:
        """Return the methods."""
        return [Method(f"/{SERVICE}/{name}", self.handler(name)) for name in self.verbs]

    def handler(self, name: str) -> PromptHandler:
        """Return the handler of a method."""
        kind, verb = self.verbs[name]

        async def answer(call: Call) -> Reply:
            try:
                request: Any = decode(kind, call.message)
                self._desk.allow(call.caller, Role.ADMINISTER, request.domain)
                return (await verb(request, call.deadline)).SerializeToString()
            except Refused as refused:
                return refused.failure

        async def handle(calls: Sequence[Call]) -> Sequence[Reply]:
            return await asyncio.gather(*map(answer, calls))

        return handle

    # -- counters ------------------------------------------------------------------------------

    async def _explain(self, request: wire.ExplainRequest, deadline: float) -> wire.ExplainResponse:
        amount = request.amount if request.HasField("amount") else None
        descriptors = read_descriptors(request.descriptors, amount, default=0)
        plan = self._desk.plan(request.domain, descriptors)
        verdict = await self._decide(Ask(plan, 1, deadline, wish=_LOOK))
        domain = self._desk.in_force().domains[request.domain]
        response = wire.ExplainResponse(verdict=write_verdict(plan.steps, verdict))
        keys = iter([draw.stem for draw in verdict.draws])
        for descriptor, step in zip(descriptors, plan.steps, strict=True):
            way = explain(domain, descriptor.entries)
            _write_way(response.explanations.add(), way, step, [next(keys) for _ in step.countings])
        return response

    async def _get_counters(self, request: wire.GetCountersRequest, deadline: float) -> wire.GetCountersResponse:
        plan, verdict = await self._look(request.domain, request.descriptors, deadline)
        return wire.GetCountersResponse(statuses=write_verdict(plan.steps, verdict).statuses)

    async def _reset_counters(self, request: wire.ResetCountersRequest, deadline: float) -> wire.ResetCountersResponse:
        plan, before = await self._look(request.domain, request.descriptors, deadline)
        spent = iter(before.standings)
        # What was seen, and no more: what is spent meanwhile stays. Limits of one rule may have seen different sums.
        most = [max((next(spent).after for _ in step.countings), default=0) for step in plan.steps]
        after = await self._decide(Ask(_spending(plan, most), 1, deadline, wish=Wish(Op.REFUND)))
        return wire.ResetCountersResponse(
            before=write_verdict(plan.steps, before).statuses, after=write_verdict(plan.steps, after).statuses
        )

    async def _grant(self, request: wire.GrantRequest, deadline: float) -> wire.GrantResponse:
        if not request.HasField("amount"):
            raise Refused.field("amount", "is missing")
        plan = self._desk.plan(request.domain, read_descriptors(request.descriptors, request.amount, default=0))
        ask = Ask(plan, 1, deadline, read_id(request.request_id), Wish(Op.REFUND))
        return wire.GrantResponse(statuses=write_verdict(plan.steps, await self._decide(ask)).statuses)

    async def _look(
        self, domain: str, descriptors: Sequence[limiter_pb2.Descriptor], deadline: float
    ) -> tuple[Plan, Verdict]:
        read = read_descriptors(descriptors, None, default=0)
        plan = self._desk.plan(domain, tuple(Descriptor(each.entries, 0) for each in read))
        return plan, await self._decide(Ask(plan, 1, deadline, wish=_LOOK))

    async def _decide(self, ask: Ask) -> Verdict:
        (answer,) = await self._desk.decide([ask], "Admin")
        if isinstance(answer, Failure):
            raise Refused(answer)
        return answer

    # -- spenders and rules --------------------------------------------------------------------

    async def _list_spenders(self, request: wire.ListSpendersRequest, _deadline: float) -> wire.ListSpendersResponse:
        if self._spenders is None:
            return wire.ListSpendersResponse()
        now = self._desk.clock.steady()
        found, period_seconds = self._spenders.top(request.count or SPENDERS_COUNT, now, request.domain)
        response = wire.ListSpendersResponse(spenders=[self._spender(each) for each in found])
        response.period.FromMilliseconds(int(period_seconds * 1000))
        return response

    def _spender(self, spender: Spender) -> wire.Spender:
        entries = ((key, self._show(value) if value else "") for key, value in spender.entries)
        return wire.Spender(
            domain=spender.domain,
            entries=_entries(entries),
            rule=spender.rule,
            spent=spender.spent,
            error=spender.error,
        )

    async def _list_rules(self, request: wire.ListRulesRequest, _deadline: float) -> wire.ListRulesResponse:
        generation = self._desk.rules.generation
        start = _read_token(request.page_token, generation)
        size = min(request.page_size or RULES_PAGE_MAX, RULES_PAGE_MAX)
        domains = self._desk.in_force().domains
        chosen = [each for each in domains.values() if request.domain in {"", each.name}]
        # Off the event loop: it may be a hundred thousand rules.
        rules = await asyncio.to_thread(lambda: [rule for domain in chosen for rule in domain.rules()])
        page = wire.ListRulesResponse(
            rules=[_rule(each) for each in rules[start : start + size]], generation=generation
        )
        if start + size < len(rules):
            page.next_page_token = f"{generation}.{start + size}"
        return page


def _read_token(token: str, generation: int) -> int:
    if not token:
        return 0
    of, _, start = token.partition(".")
    if not (of.isdecimal() and start.isdecimal()):
        raise Refused.field("page_token", "is none that a page before gave")
    if int(of) != generation:
        raise Refused.field("page_token", "other rules were loaded since: begin again")
    return int(start)


def _spending(plan: Plan, hits: Sequence[int]) -> Plan:
    """Return a plan that spends these hits as they are: they were read off counters."""
    return replace(plan, steps=tuple(replace(step, hits=most) for step, most in zip(plan.steps, hits, strict=True)))


def _write_way(written: wire.Explanation, way: Way, step: Step, keys: Sequence[str]) -> None:
    for turn in way.turns:
        written.turns.add(entry=limiter_pb2.Entry(key=turn.entry[0], value=turn.entry[1]), node=turn.node, how=turn.how)
    written.why = way.why
    written.keys.extend(keys)
    if way.rule is None:
        return
    written.rule, written.file, written.line = way.rule.path, way.rule.where.file, way.rule.where.line
    written.traits.extend(traits(way.rule))
    if step.rule is None:
        written.why += "; but another rule of this request replaces it"


def _rule(rule: Rule) -> wire.Rule:
    limits = [
        wire.Limit(amount=limit.amount, window=limit.span, algorithm=limit.algorithm.value, ceiling=limit.ceiling)
        for limit in rule.limits
    ]
    return wire.Rule(path=rule.path, file=rule.where.file, line=rule.where.line, limits=limits, traits=traits(rule))


def _entries(entries: Iterable[Entry]) -> list[limiter_pb2.Entry]:
    return [limiter_pb2.Entry(key=key, value=value) for key, value in entries]
