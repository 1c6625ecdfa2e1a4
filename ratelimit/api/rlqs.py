"""Envoy's rate limit quota service: assignments out of the same rules and counters.

    report (bucket, allowed, denied) ──▶ charge what was allowed ──▶ what is left ──▶ fair shares ──▶ assignments
                                                                                        └── pushed to others, if changed

1. A bucket is a set of pairs; it finds its rule in whatever order the tree has them.
2. A share is a token bucket that begins with its tokens and fills no faster than one in a window: until the next report
   nobody can let through more than his share, so all together no more than was left (beyond what was under way while
   the answer travelled). Windows up to `SHORT_SECONDS` fill at their rate, since they end before a report comes.
3. Nothing left is DENY_ALL until the window ends. No rule, or an unlimited one, is ALLOW_ALL. All of it lives for
   RLQS_ASSIGNMENT_TTL, which a report renews.
4. A bucket that nobody used for RLQS_ABANDON_AFTER is abandoned. Streams, and buckets of a stream, are bounded.
5. Each of our replicas divides what is left among the replicas of the gateway that report to it: have those of one
   gateway report to one of ours, or each of ours will give the same tokens out until the next reports.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

from protos.interop.rlqs.v1 import rlqs_pb2 as wire
from ratelimit.descriptor import Descriptor, Entry, Request
from ratelimit.draw import Op
from ratelimit.drawing import Wish
from ratelimit.errors import StoreError
from ratelimit.limiter import Ask, Limiter
from ratelimit.limits import Limit
from ratelimit.plan import Plan, Planner
from ratelimit.quota import Bucket
from ratelimit.rules import RuleSet
from ratelimit.settings import QuotaSettings
from ratelimit.source import Rules
from ratelimit.verdict import Status
from serving.clock import Clock
from serving.grpc_handlers import Context, Paths
from serving.metrics import Registry

SERVICE = "envoy.service.rate_limit_quota.v3.RateLimitQuotaService"
PATH = f"/{SERVICE}/StreamRateLimitQuotas"

SHORT_SECONDS = 10
# Pairs of one bucket that are tried in every order.
PAIRS_MAX = 6
TOKENS_MAX = 2**32 - 1
# A share that moved by less than this is not worth a push.
_PUSH_FROM = 0.1

Key = frozenset[Entry]

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Stream:
    domain: str = ""
    outgoing: asyncio.Queue[wire.RateLimitQuotaResponse | None] = field(default_factory=lambda: asyncio.Queue(64))
    used_at: dict[Key, float] = field(default_factory=dict)
    """By bucket: when it was last used, in steady seconds."""


class RlqsApi:
    """The streams of all gateways."""

    def __init__(
        self,
        *,
        limiter: Limiter,
        planner: Planner,
        rules: Rules,
        settings: QuotaSettings,
        clock: Clock,
        registry: Registry,
    ) -> None:
        self._limiter = limiter
        self._planner = planner
        self._rules = rules
        self._settings = settings
        self._clock = clock
        self._streams: set[_Stream] = set()
        self._buckets: dict[tuple[str, Key], Bucket] = {}
        self._reports = registry.counter("weir.rlqs.reports")
        self._pushes = registry.counter("weir.rlqs.pushes")
        self._refused = registry.counter("weir.rlqs.refused")
        registry.gauge("weir.rlqs.streams", lambda: len(self._streams))
        registry.gauge("weir.rlqs.buckets", lambda: len(self._buckets))

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the stream as the grpcio server takes it."""
        method = grpc.stream_stream_rpc_method_handler(
            self._serve,
            request_deserializer=wire.RateLimitQuotaUsageReports.FromString,
            response_serializer=wire.RateLimitQuotaResponse.SerializeToString,
        )
        return Paths({PATH: method})

    async def _serve(
        self, requests: AsyncIterator[wire.RateLimitQuotaUsageReports], context: Context
    ) -> AsyncIterator[wire.RateLimitQuotaResponse]:
        if len(self._streams) >= self._settings.streams_max:
            self._refused.add()
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams (RLQS_STREAMS_MAX)")
        stream = _Stream()
        self._streams.add(stream)
        reading = asyncio.create_task(self._read(stream, requests))
        try:
            while (response := await stream.outgoing.get()) is not None:
                yield response
            await reading
        except _Refused as refused:
            self._refused.add()
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(refused))
        finally:
            reading.cancel()
            self._streams.discard(stream)
            self._leave(stream)

    async def _read(self, stream: _Stream, requests: AsyncIterator[wire.RateLimitQuotaUsageReports]) -> None:
        try:
            async for request in requests:
                self._begin(stream, request)
                response = await self._answer(stream, request.bucket_quota_usages)
                if response.bucket_action:
                    stream.outgoing.put_nowait(response)
        except asyncio.QueueFull:
            raise _Refused("assignments are not read") from None
        finally:
            await stream.outgoing.put(None)

    def _begin(self, stream: _Stream, request: wire.RateLimitQuotaUsageReports) -> None:
        if not stream.domain:
            if not request.domain:
                raise _Refused("domain: is missing in the first report")
            stream.domain = request.domain
        keys = {_key(usage) for usage in request.bucket_quota_usages}
        if len(stream.used_at.keys() | keys) > self._settings.buckets_max:
            raise _Refused("bucket_quota_usages: too many buckets (RLQS_BUCKETS_MAX)")
        if not all(0 < len(key) <= PAIRS_MAX and all(name and value for name, value in key) for key in keys):
            raise _Refused(f"bucket_id: 1 to {PAIRS_MAX} pairs of non-empty texts are wanted")

    # -- reports -------------------------------------------------------------------------------

    async def _answer(self, stream: _Stream, usages: Sequence[Any]) -> wire.RateLimitQuotaResponse:
        self._reports.add(len(usages))
        rules, now = self._rules.current, self._clock.steady()
        asks = [] if rules is None else [self._ask(stream.domain, usage, rules, now) for usage in usages]
        verdicts = await self._limiter.decide(asks, self._rules.modes) if asks else [None] * len(usages)
        response = wire.RateLimitQuotaResponse()
        for usage, verdict in zip(usages, verdicts, strict=True):
            key = _key(usage)
            if self._is_idle(stream, key, usage, now):
                response.bucket_action.add(bucket_id=usage.bucket_id).abandon_action.SetInParent()
                self._drop(stream, key)
            elif isinstance(verdict, StoreError):
                # What the gateway was told last holds until it ends; then its own fallback does.
                continue
            else:
                status = verdict.statuses[0] if verdict is not None else None
                self._assign(stream, key, usage, status, response, now)
        return response

    def _ask(self, domain: str, usage: Any, rules: RuleSet, now: float) -> Ask:  # noqa: ANN401 - a nested message
        plan = self._planner.under(self._plan(domain, _key(usage), rules), rules)
        deadline = now + self._settings.charge_timeout
        return Ask(plan, int(usage.num_requests_allowed), deadline, wish=Wish(Op.FORCE))

    def _plan(self, domain: str, key: Key, rules: RuleSet) -> Plan:
        plan: Plan | None = None
        for entries in itertools.permutations(sorted(key)):
            plan = self._planner.plan(Request(domain, (Descriptor(entries),)), rules, is_explicit=True)
            if plan.steps[0].rule is not None:
                break
        if plan is None:  # pragma: no cover - a bucket has at least one pair
            raise AssertionError
        return plan

    def _is_idle(self, stream: _Stream, key: Key, usage: Any, now: float) -> bool:  # noqa: ANN401
        if usage.num_requests_allowed or usage.num_requests_denied or key not in stream.used_at:
            stream.used_at[key] = now
            return False
        return now - stream.used_at[key] >= self._settings.abandon_after

    # -- assignments ---------------------------------------------------------------------------

    def _assign(
        self,
        stream: _Stream,
        key: Key,
        usage: Any,  # noqa: ANN401
        status: Status | None,
        response: wire.RateLimitQuotaResponse,
        now: float,
    ) -> None:
        if status is None or status.limit is None:
            response.bucket_action.add().CopyFrom(self._action(key, None))
            return
        window = _window_seconds(status.limit)
        elapsed = max(usage.time_elapsed.ToTimedelta().total_seconds(), 0.001)
        demand = (usage.num_requests_allowed + usage.num_requests_denied) / elapsed * window
        bucket = self._buckets.setdefault((stream.domain, key), Bucket())
        bucket.report(stream, demand, elapsed, now)
        told = {each: bucket.told(each) for each in self._streams if key in each.used_at and each is not stream}
        total = status.limit.capacity if window <= SHORT_SECONDS and status.remaining else status.remaining
        for other, share in bucket.divide(total).items():
            action = self._action(key, status, share)
            if other is stream:
                response.bucket_action.add().CopyFrom(action)
            elif isinstance(other, _Stream) and _is_moved(told.get(other, -1), share):
                self._push(other, action)

    def _push(self, stream: _Stream, action: wire.RateLimitQuotaResponse.BucketAction) -> None:
        try:
            stream.outgoing.put_nowait(wire.RateLimitQuotaResponse(bucket_action=[action]))
        except asyncio.QueueFull:
            return
        self._pushes.add()

    def _action(self, key: Key, status: Status | None, share: int = 0) -> wire.RateLimitQuotaResponse.BucketAction:
        action = wire.RateLimitQuotaResponse.BucketAction(bucket_id=wire.BucketId(bucket=dict(sorted(key))))
        assigned = action.quota_assignment_action
        ttl = self._settings.assignment_ttl
        if status is None or status.limit is None:
            assigned.rate_limit_strategy.blanket_rule = wire.RateLimitStrategy.ALLOW_ALL
        elif share <= 0:
            assigned.rate_limit_strategy.blanket_rule = wire.RateLimitStrategy.DENY_ALL
            ttl = min(ttl, max(1.0, float(status.reset_seconds)))
        else:
            window = _window_seconds(status.limit)
            tokens = assigned.rate_limit_strategy.token_bucket
            tokens.max_tokens = min(share, TOKENS_MAX)
            tokens.tokens_per_fill.value = min(share, TOKENS_MAX) if window <= SHORT_SECONDS else 1
            tokens.fill_interval.FromSeconds(window)
        assigned.assignment_time_to_live.FromMilliseconds(math.ceil(ttl * 1000))
        return action

    def _leave(self, stream: _Stream) -> None:
        for key in list(stream.used_at):
            self._drop(stream, key)

    def _drop(self, stream: _Stream, key: Key) -> None:
        stream.used_at.pop(key, None)
        bucket = self._buckets.get((stream.domain, key))
        if bucket is not None:
            bucket.leave(stream)
            if bucket.is_empty:
                del self._buckets[stream.domain, key]


class _Refused(Exception):  # noqa: N818 - what became of the stream
    """The stream cannot go on; the text says why."""


def _key(usage: Any) -> Key:  # noqa: ANN401 - a nested message
    return frozenset(usage.bucket_id.bucket.items())


def _window_seconds(limit: Limit) -> int:
    return limit.windowing.longest_seconds if limit.windowing is not None else limit.unit.seconds if limit.unit else 1


def _is_moved(told: int, share: int) -> bool:
    return told < 0 or (share == 0) != (told == 0) or abs(share - told) > _PUSH_FROM * max(told, share)
