"""What our own APIs have in common: a caller's rights, a plan, one decision for a batch, and failures by their cause.

    call ──▶ allow ──▶ plan ──▶ Ask ─┐
    call ──▶ allow ──▶ Refused       ├──▶ decide, once ──▶ Verdict | Failure, for each

1. UNAVAILABLE is only said where nothing was counted, DEADLINE_EXCEEDED where it may have been: callers repeat the one,
   and the other only under an id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from google.protobuf.message import Message

from ratelimit.api.denials import DenialLog
from ratelimit.descriptor import Descriptor, Request
from ratelimit.draw import Draw
from ratelimit.errors import StoreError, StoreRefused, StoreTimeout
from ratelimit.limiter import Ask, Limiter
from ratelimit.plan import Plan, Planner
from ratelimit.rights import Rights, Role
from ratelimit.rules import RuleSet
from ratelimit.source import Rules
from ratelimit.store import HoldsPage
from ratelimit.verdict import Verdict
from serving.calls import Call, Caller, Failure, PromptHandler, Reply, StatusCode
from serving.clock import Clock
from serving.metrics import Registry
from serving.refusal import Refused, decode
from serving.rights import Identity


@dataclass(slots=True)
class Task:
    """A call under way."""

    ask: Ask
    write: Callable[[Verdict], Message]


# Requests differ by method, and protobuf's classes have no common one that knows their fields.
Begin: TypeAlias = Callable[[Any, Caller, float], Task]


def started(kind: type[Message], begin: Begin, call: Call) -> Task | Failure:
    """Begin a call; what is wrong with it is its answer."""
    try:
        return begin(decode(kind, call.message), call.caller, call.deadline)
    except Refused as refused:
        return refused.failure


class Desk:
    """Decides for callers who say what they want."""

    def __init__(  # noqa: PLR0913 - it is put together in one place, by keyword
        self,
        *,
        limiter: Limiter,
        planner: Planner,
        rules: Rules,
        rights: Rights,
        denials: DenialLog,
        clock: Clock,
        registry: Registry,
        descriptors_max: int,
    ) -> None:
        self.clock = clock
        self.rules = rules
        self._limiter = limiter
        self._planner = planner
        self._rights = rights
        self._denials = denials
        self._registry = registry
        self._descriptors_max = descriptors_max

    def allow(self, caller: Caller, role: Role, domain: str) -> None:
        """Let a caller pass who may do this in a domain; empty: in all of them.

        Raises:
            Refused: he may not.
        """
        if self._rights.allows(Identity(caller.sans, caller.token), role, domain):
            return
        if self._rights.is_empty:
            why = "nobody may: API_TOKEN and API_CALLERS_PATH name no caller"
            raise Refused(Failure(StatusCode.PERMISSION_DENIED, why))
        if not caller.sans and not caller.token:
            raise Refused(Failure(StatusCode.UNAUTHENTICATED, f"`{role}` needs a certificate or a token"))
        raise Refused(Failure(StatusCode.PERMISSION_DENIED, f"the caller may not `{role}` in this domain"))

    def in_force(self) -> RuleSet:
        """Return the rules.

        Raises:
            Refused: none are loaded yet.
        """
        if self.rules.current is None:
            raise Refused(Failure(StatusCode.UNAVAILABLE, "no rules are loaded"))
        return self.rules.current

    def plan(self, domain: str, descriptors: tuple[Descriptor, ...]) -> Plan:
        """Return the plan of a request.

        Raises:
            Refused: it has too few or too many descriptors, or there are no rules for it.
        """
        return self.under(self.plan_of_rules(domain, descriptors))

    def plan_of_rules(self, domain: str, descriptors: tuple[Descriptor, ...]) -> Plan:
        """Return the plan of a request as the rules have it, without dynamic limits.

        Raises:
            Refused: as of `plan`.
        """
        plan = self._plan(domain, descriptors)
        if not plan.is_known_domain:
            raise Refused(Failure(StatusCode.NOT_FOUND, "domain: no rules are loaded for it"))
        return plan

    def under(self, plan: Plan) -> Plan:
        """Return a plan of the rules in force under the dynamic limits of this moment."""
        return plan if plan.changing is None else self._planner.under(plan, self.in_force())

    def plan_any(self, domain: str, descriptors: tuple[Descriptor, ...]) -> Plan:
        """Return the plan of a request, also of one that there are no rules for.

        Raises:
            Refused: it has too few or too many descriptors.
        """
        return self.under(self._plan(domain, descriptors))

    def _plan(self, domain: str, descriptors: tuple[Descriptor, ...]) -> Plan:
        if not domain:
            raise Refused.field("domain", "is missing")
        if not descriptors:
            raise Refused.field("descriptors", "are missing")
        if len(descriptors) > self._descriptors_max:
            raise Refused.field("descriptors", f"{len(descriptors)} of them, at most {self._descriptors_max} are taken")
        return self._planner.plan(Request(domain, descriptors), self.in_force(), is_explicit=True)

    async def answer(self, tasks: Sequence[Task | Failure], method: str) -> list[Message | Failure]:
        """Answer calls under way in one round trip, in order."""
        verdicts = iter(await self.decide([task.ask for task in tasks if isinstance(task, Task)], method))
        answers: list[Message | Failure] = []
        for task in tasks:
            if isinstance(task, Failure):
                self.count(method, task)
                answers.append(task)
            else:
                verdict = next(verdicts)
                answers.append(verdict if isinstance(verdict, Failure) else task.write(verdict))
        return answers

    def handler(self, kind: type[Message], begin: Begin, method: str) -> PromptHandler:
        """Return the handler of a method: `begin` turns its requests into tasks."""

        async def handle(calls: Sequence[Call]) -> Sequence[Reply]:
            tasks = [started(kind, begin, call) for call in calls]
            answers = await self.answer(tasks, method)
            return [answer if isinstance(answer, Failure) else answer.SerializeToString() for answer in answers]

        return handle

    async def decide(self, asks: Sequence[Ask], method: str = "") -> list[Verdict | Failure]:
        """Answer all of them in one round trip, in order; `method` is what they are counted under."""
        modes = self.rules.modes
        verdicts = await self._limiter.decide(asks, modes) if asks else []
        now = self.clock.steady()
        answers: list[Verdict | Failure] = []
        for ask, verdict in zip(asks, verdicts, strict=True):
            if isinstance(verdict, StoreError):
                answers.append(failure_of(verdict))
                continue
            verdict.is_over = verdict.is_over and not modes.shadow_mode
            if verdict.is_over and ask.wish is not None and not ask.wish.is_look:
                self._denials.note(ask.plan, verdict, now)
            answers.append(verdict)
        for answer in answers:
            self.count(method, answer)
        return answers

    async def holds(self, draw: Draw, *, cursor: str, most: int, deadline: float) -> HoldsPage:
        """Return holds of a counter.

        Raises:
            Refused: the counters do not answer.
        """
        page = await self._limiter.holds(draw, cursor=cursor, most=most, deadline=deadline)
        if isinstance(page, StoreError):
            raise Refused(failure_of(page))
        return page

    def count(self, method: str, answer: Verdict | Failure) -> None:
        """Count a call by its outcome."""
        outcome = "failed" if isinstance(answer, Failure) else "over_limit" if answer.is_over else "ok"
        self._registry.counter("weir.limiter.calls", method=method, outcome=outcome).add()


def failure_of(error: StoreError) -> Failure:
    """Return what callers are told of counters that did not answer."""
    if isinstance(error, StoreTimeout):
        return Failure(StatusCode.DEADLINE_EXCEEDED, f"{error}; it may have been counted")
    refused = isinstance(error, StoreRefused)
    return Failure(StatusCode.FAILED_PRECONDITION if refused else StatusCode.UNAVAILABLE, str(error))
