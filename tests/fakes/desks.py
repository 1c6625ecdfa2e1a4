"""Our own APIs over real parts: rules as text, counters in memory or wherever a test has them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeVar

from google.protobuf.message import Message

from ratelimit.accounting import StatsTable
from ratelimit.api.denials import DenialLog
from ratelimit.api.desk import Desk
from ratelimit.api.own import OwnApis
from ratelimit.known_limits import KnownLimits
from ratelimit.limiter import Limiter
from ratelimit.limits import Windows
from ratelimit.plan import Planner
from ratelimit.refreshing import Refreshing
from ratelimit.rights import CallerRule, Rights, Role
from ratelimit.rules import Show, plainly
from ratelimit.settings import ApiSettings, ConfigSettings, LimiterSettings
from ratelimit.source import Rules
from ratelimit.spenders import Spenders
from ratelimit.store import Store
from ratelimit.stores.memory import MemoryStore
from ratelimit.stores.memory_limits import MemoryLimits
from serving.calls import Call, Caller, Failure, Reply
from serving.clock import Clock
from serving.metrics import Registry
from tests.fakes.clock import FakeClock
from tests.fakes.rules import read_specs

EVERYONE = CallerRule(anyone=True, roles=frozenset(Role))
SOMEBODY = Caller("p")

M = TypeVar("M", bound=Message)


class Apis:
    """The services, to be asked without a wire."""

    def __init__(
        self,
        rules: str,
        *,
        store: Store | None = None,
        clock: Clock | None = None,
        callers: Iterable[CallerRule] = (EVERYONE,),
        limits: MemoryLimits | None = None,
        show: Show = plainly,
    ) -> None:
        self.clock = clock or FakeClock()
        self.store = store or MemoryStore(10_000)
        self.registry = Registry()
        self.rules = Rules(ConfigSettings(), self.registry)
        self.stats = StatsTable(series_max=100, domains_max=10, ttl_seconds=60)
        self.spenders = Spenders(3, 60.0)
        self.limiter = Limiter(self.store, self.clock, self.stats, windows=Windows(), spenders=self.spenders)
        self.known_limits = KnownLimits()
        self.planner = Planner(limits=self.known_limits)
        self.limits = limits or MemoryLimits(self.clock, limits_max=3)
        self.refreshing = Refreshing(
            self.limits, self.known_limits, self.rules, self.clock, self.registry, interval_seconds=60.0
        )
        self.rights = Rights(callers)
        self.desk = Desk(
            limiter=self.limiter,
            planner=self.planner,
            rules=self.rules,
            rights=self.rights,
            denials=DenialLog(0),
            clock=self.clock,
            registry=self.registry,
            descriptors_max=100,
        )
        self.own = OwnApis(
            self.desk,
            ApiSettings(),
            LimiterSettings(),
            self.spenders,
            self.limits,
            self.refreshing.refresh,
            show,
        )
        self.methods = {method.label or method.path.rpartition("/")[2]: method for method in self.own.methods()}
        self._text = rules

    async def start(self) -> Apis:
        """Load the rules."""
        await self.load(self._text)
        return self

    async def load(self, text: str) -> None:
        """Have these rules in force."""
        assert await self.rules.apply(read_specs(text)) is None

    async def replies(self, name: str, *requests: Message, caller: Caller = SOMEBODY) -> Sequence[Reply]:
        """Return what the wire would give."""
        calls = [Call(request.SerializeToString(), math.inf, caller) for request in requests]
        replies = await self.methods[name].handler(calls)
        return [reply for reply in replies if isinstance(reply, bytes | Failure)]

    async def ask(self, name: str, request: Message, kind: type[M]) -> M:
        """Return the answer to a call that does not fail."""
        (reply,) = await self.replies(name, request)
        assert isinstance(reply, bytes), reply
        return kind.FromString(reply)

    async def failure(self, name: str, request: Message, caller: Caller = SOMEBODY) -> Failure:
        """Return the failure of a call."""
        (reply,) = await self.replies(name, request, caller=caller)
        assert isinstance(reply, Failure), reply
        return reply
