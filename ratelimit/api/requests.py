"""From a message to what is asked of the limiter: known ones by their bytes, new ones by what they are like.

    message ─ known? ───────────────────────────────▶ plan      most calls: callers repeat themselves
       └ taken apart, like one before? ──▶ Mould ───▶ plan      other values, other hits
            └ its shape known? ─────────────────────▶ plan      other hits of descriptors, another request id
                 └ protobuf ──▶ Request ──▶ Planner ▶ plan      the first of its kind, and what is written oddly

All ways lead to the same plan: `tests/unit` holds the upper ones to the last.
"""

from __future__ import annotations

from ratelimit.api import rls_messages
from ratelimit.api.plans import MESSAGE_BYTES_MAX, Plans
from ratelimit.api.rls_messages import OwnEntries
from ratelimit.api.shapes import Shape, shape_of, shape_with_hits
from ratelimit.api.skeletons import Skeleton, read_keys, take_apart
from ratelimit.descriptor import Descriptor, Request
from ratelimit.errors import BadRequest
from ratelimit.limiter import Ask
from ratelimit.moulds import Mould, Moulds
from ratelimit.plan import Plan, Planner
from ratelimit.settings import LimiterSettings
from ratelimit.source import Rules
from serving.metrics import Registry

NO_DOMAIN = "rate limit domain must not be empty"
NO_DESCRIPTORS = "rate limit descriptor list must not be empty"
NO_RULES = "no rate limit configuration loaded"

# Kinds of requests that are remembered; a gateway has one for each of its routes, or fewer.
_KINDS_MAX = 256


class Requests:
    """Reads messages under the rules now loaded."""

    def __init__(
        self, planner: Planner, rules: Rules, settings: LimiterSettings, own: OwnEntries, registry: Registry
    ) -> None:
        self._planner = planner
        self._rules = rules
        self._descriptors_max = settings.descriptors_max
        self._own = own
        self._own_keys = {name.encode() for name in (own.request_id, own.phase, own.kind) if name}
        self._plans = Plans(registry, entries_max=settings.plans_max, bytes_max=settings.plans_bytes_max)
        self._moulds: Moulds | None = None
        self.kinds: dict[Skeleton, Mould | None] = {}
        """None: requests of this kind are planned one by one."""
        self._asked: dict[bytes, Ask] = {}
        """What messages of this batch asked whose plan is not remembered by all of their bytes."""

    def renew(self) -> None:
        """Begin a batch: forget what was found out under other rules, and what depends on the moment."""
        self._asked.clear()
        if not self._plans.renew(self._rules.generation):
            return
        rules = self._rules.current
        self.kinds.clear()
        # Dynamic metadata tells the request, with its hits, so that none is like another.
        has_moulds = rules is not None and not self._rules.modes.response_dynamic_metadata
        self._moulds = Moulds(self._planner, rules) if rules is not None and has_moulds else None

    def ask(self, message: bytes, deadline: float) -> Ask:
        """Return what a message asks.

        Raises:
            BadRequest: it is no RateLimitRequest, or asks for nothing, or there are no rules.
        """
        plan = self._plans.get(message)
        if plan is not None:
            return _asked(self._under(plan), deadline)
        like = self._asked.get(message)
        if like is not None:
            # One plan for equal calls, so that the limiter sees that they are.
            self._plans.count_hit()
            return Ask(like.plan, like.hits, deadline, like.request_id)
        ask = self._asked[message] = self._ask_anew(message, deadline)
        return ask

    def _ask_anew(self, message: bytes, deadline: float) -> Ask:
        if len(message) > MESSAGE_BYTES_MAX:
            return _asked(self._keep(None, self._plan(message)), deadline)
        apart = None if self._moulds is None else take_apart(message)
        if apart is None:
            return self._ask_shaped(message, deadline)
        skeleton, values, end = apart
        mould = self.kinds.get(skeleton)
        ask = None if mould is None else self._ask_like(mould, values, message, end, deadline)
        if ask is None:
            ask = self._ask_shaped(message, deadline)
            if skeleton not in self.kinds:
                self._learn(skeleton)
        return ask

    def _ask_like(self, mould: Mould, values: list[str], message: bytes, end: int, deadline: float) -> Ask | None:
        """Ask by a mould, where the rules found let it; a message has hits behind its `end`, if anything."""
        key, hits = message, None
        if end < len(message):
            shape = shape_with_hits(message, end)
            if shape is None:
                return None
            key, hits = shape.key, shape.hits
            known = self._plans.get(key)
            if known is not None:
                return Ask(self._under(known), hits or 1, deadline)
        plan = mould.plan(values, _Unread(message))
        return None if plan is None else Ask(self._keep(key, plan), hits or 1, deadline)

    def _learn(self, skeleton: Skeleton) -> None:
        """Have a mould for requests like one that was just planned, unless they speak to us in entries of their own."""
        if len(self.kinds) >= _KINDS_MAX:
            self.kinds.clear()
        mould = None
        if self._moulds is not None and self._own_keys.isdisjoint(skeleton):
            mould = self._moulds.make(*read_keys(skeleton))
        self.kinds[skeleton] = mould

    def _ask_shaped(self, message: bytes, deadline: float) -> Ask:
        """Plan a message that is like none before, or is so but for its hits and its request id."""
        shape = self._shape(message)
        if shape is None or shape.key is message:
            return _asked(self._keep(None if shape is None else shape.key, self._plan(message)), deadline)
        known = self._plans.get(shape.key)
        known = self._keep(shape.key, self._plan(message)) if known is None else self._under(known)
        plan = known.with_hits(shape.own_hits) if shape.own_hits else known
        return Ask(plan, shape.hits or 1, deadline, shape.request_id)

    def _shape(self, message: bytes) -> Shape | None:
        if self._rules.modes.response_dynamic_metadata:
            return Shape(message)
        return shape_of(message, self._own.request_id)

    def _plan(self, message: bytes) -> Plan:
        request = rls_messages.parse(message, descriptors_max=self._descriptors_max, own=self._own)
        if not request.domain:
            raise BadRequest(NO_DOMAIN)
        if not request.descriptors:
            raise BadRequest(NO_DESCRIPTORS)
        if self._rules.current is None:
            raise BadRequest(NO_RULES)
        return self._planner.plan(request, self._rules.current)

    def _keep(self, key: bytes | None, plan: Plan) -> Plan:
        """Remember a plan; return it as of `_under`."""
        self._plans.keep(key, plan)
        return self._under(plan)

    def _under(self, plan: Plan) -> Plan:
        """Return a plan under the dynamic limits of this moment: what is remembered is without."""
        rules = self._rules.current
        return plan if plan.changing is None or rules is None else self._planner.under(plan, rules)


class _Unread:
    """A request of which only the values were read: who asks for more is rare, and pays for it."""

    __slots__ = ("_message",)

    hits: int | None = None
    request_id = ""

    def __init__(self, message: bytes) -> None:
        self._message = message

    @property
    def domain(self) -> str:
        """Return the domain."""
        return self._read().domain

    @property
    def descriptors(self) -> tuple[Descriptor, ...]:
        """Return the descriptors."""
        return self._read().descriptors

    def _read(self) -> Request:
        return rls_messages.parse(self._message, descriptors_max=len(self._message))


def _asked(plan: Plan, deadline: float) -> Ask:
    return Ask(plan, plan.request.hits or 1, deadline, plan.request.request_id)
