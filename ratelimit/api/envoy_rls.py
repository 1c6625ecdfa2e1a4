"""Envoy's rate limit service: `envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit`.

Errors keep the status a caller of the reference knows: UNKNOWN for a request without domain or
descriptors, for missing rules and for what Redis refuses. Our own outages are UNAVAILABLE, and
what the reference crashes on is INVALID_ARGUMENT. `overall_code` UNKNOWN is never sent: Envoy lets
it pass without asking failure_mode_deny, so it would take the choice from the operator.
"""

from __future__ import annotations

from collections.abc import Sequence

from ratelimit.accounting import Stats
from ratelimit.api import rls_messages
from ratelimit.api.denials import DenialLog
from ratelimit.api.requests import NO_DESCRIPTORS, NO_DOMAIN, NO_RULES, Requests
from ratelimit.api.rls_messages import OwnEntries
from ratelimit.errors import BadRequest, StoreError, StoreRefused
from ratelimit.limiter import Ask, Limiter
from ratelimit.metering import Metering
from ratelimit.plan import Plan, Planner
from ratelimit.settings import LimiterSettings, ModeSettings
from ratelimit.source import Rules
from ratelimit.verdict import Verdict
from serving.calls import Call, Failure, Reply, StatusCode
from serving.clock import Clock
from serving.metrics import Registry

PATH = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"


def own_entries(settings: LimiterSettings) -> OwnEntries:
    """Return the names of descriptor entries that speak to us."""
    return OwnEntries(settings.request_id_entry, settings.phase_entry, settings.token_kind_entry)


class EnvoyRls:
    """The handler of a batch: bytes to plans, one decision, verdicts to bytes."""

    def __init__(  # noqa: PLR0913 - it is put together in one place, by keyword
        self,
        *,
        limiter: Limiter,
        planner: Planner,
        rules: Rules,
        settings: LimiterSettings,
        registry: Registry,
        stats: Stats,
        denials: DenialLog,
        clock: Clock,
    ) -> None:
        self._limiter = limiter
        self._rules = rules
        self._requests = Requests(planner, rules, settings, own_entries(settings), registry)
        self._clock = clock
        self._metrics = Metrics(registry, stats)
        self._denials = denials
        self._metering = Metering(
            stats, wait_seconds=settings.charge_expected_within, counters_max=settings.charges_expected_max
        )

    async def should_rate_limit(self, calls: Sequence[Call]) -> Sequence[Reply]:
        """Answer a batch of RateLimitRequests."""
        started = self._clock.steady()
        modes = self._rules.modes
        self._requests.renew()
        drafts = [self._ask(call) for call in calls]
        asks = [draft for draft in drafts if isinstance(draft, Ask)]
        verdicts = iter(await self._limiter.decide(asks, modes) if asks else ())
        now = self._clock.steady()
        replies = [
            self._reply(draft, next(verdicts), modes, now) if isinstance(draft, Ask) else draft for draft in drafts
        ]
        self._metering.turn(now)
        self._metrics.count_calls(len(calls), self._clock.steady() - started)
        return replies

    def _ask(self, call: Call) -> Ask | Failure:
        try:
            ask = self._requests.ask(call.message, call.deadline)
        except BadRequest as error:
            self._metrics.service_error.add()
            # The reference answers its two own complaints with UNKNOWN; what it has no words for is the caller's fault.
            is_known = str(error) in {NO_DOMAIN, NO_DESCRIPTORS, NO_RULES}
            return Failure(StatusCode.UNKNOWN if is_known else StatusCode.INVALID_ARGUMENT, str(error))
        if not ask.plan.is_known_domain:
            self._metrics.count_unknown_domain(ask.plan)
        return ask

    def _reply(self, ask: Ask, verdict: Verdict | StoreError, modes: ModeSettings, now: float) -> Reply:
        if isinstance(verdict, StoreError):
            self._metrics.redis_error.add()
            refused = isinstance(verdict, StoreRefused)
            return Failure(StatusCode.UNKNOWN if refused else StatusCode.UNAVAILABLE, str(verdict))
        if verdict.is_over and modes.shadow_mode:
            verdict.is_over = False
            self._metrics.global_shadow_mode.add()
        self._metering.note(ask.plan, ask.hits, now, is_over=verdict.is_over)
        if verdict.is_over:
            self._denials.note(ask.plan, verdict, now)
        return rls_messages.encode(
            verdict,
            response_headers=response_headers(modes) if modes.limit_response_headers_enabled else None,
            request_headers=request_headers(modes) if modes.limit_request_headers_enabled else None,
        )


def response_headers(modes: ModeSettings) -> tuple[str, str, str]:
    """Return the names of the limit headers for the client."""
    return modes.limit_limit_header, modes.limit_remaining_header, modes.limit_reset_header


def request_headers(modes: ModeSettings) -> tuple[str, str, str]:
    """Return the names of the limit headers for the upstream."""
    return (
        modes.limit_request_limit_header,
        modes.limit_request_remaining_header,
        modes.limit_request_reset_header,
    )


class Metrics:
    """The counters of this method, under the reference's names."""

    def __init__(self, registry: Registry, stats: Stats) -> None:
        self._stats = stats
        self.service_error = registry.counter("ratelimit.service.call.should_rate_limit.service_error")
        self.redis_error = registry.counter("ratelimit.service.call.should_rate_limit.redis_error")
        self.global_shadow_mode = registry.counter("ratelimit.service.global_shadow_mode")
        self.total_requests = registry.counter("ratelimit_server.ShouldRateLimit.total_requests")
        self.response_time = registry.timer("ratelimit_server.ShouldRateLimit.response_time")

    def count_calls(self, calls: int, seconds: float) -> None:
        """Count a batch; each of its calls took as long as the batch."""
        self.total_requests.add(calls)
        self.response_time.observe(seconds, calls)

    def count_unknown_domain(self, plan: Plan) -> None:
        """Count one for each descriptor, as the reference does."""
        self._stats[plan.request.domain].domain_not_found += len(plan.steps)
