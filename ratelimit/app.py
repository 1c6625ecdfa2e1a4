"""The rate limit service, put together: the only place that picks implementations.

settings ──▶ logs, metrics ──▶ store ──▶ rules ──▶ HTTP ──▶ gRPC          stopping goes the other way

One file: which part is given which others is seen in one place only.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from protos.interop.rlqs.v1 import rlqs_pb2
from protos.interop.rls.v1 import rls_pb2
from ratelimit import settings as service_settings
from ratelimit.accounting import StatsTable
from ratelimit.api import rlqs
from ratelimit.api.admin_pages import admin_pages
from ratelimit.api.denials import DenialLog
from ratelimit.api.desk import Desk
from ratelimit.api.envoy_rls import PATH, EnvoyRls
from ratelimit.api.json_rls import JsonRls
from ratelimit.api.own import OwnApis
from ratelimit.api.pages import debug_pages, main_pages
from ratelimit.api.rlqs import RlqsApi
from ratelimit.api.spans import SPAN, describe
from ratelimit.atomicity import ANYWHERE, Home
from ratelimit.config import overlay_file
from ratelimit.config.callers import CallersWatch
from ratelimit.config.callers import load as load_callers
from ratelimit.config.file_source import FileSource
from ratelimit.config.xds import XdsSource
from ratelimit.dynamic_limit import DynamicLimitStore
from ratelimit.errors import ConfigError, RatelimitError
from ratelimit.known_limits import KnownLimits
from ratelimit.leasing import LeasingStore
from ratelimit.limiter import Limiter
from ratelimit.limits import Windows
from ratelimit.local_cache import LocalCache
from ratelimit.outage import Outage
from ratelimit.overlay import Overlay
from ratelimit.parts import RulesWatch, StoreWatch
from ratelimit.plan import Planner
from ratelimit.refreshing import Refreshing
from ratelimit.rights import Rights, holder_of
from ratelimit.settings import ApiSettings, ConfigSettings, Settings
from ratelimit.source import Rules, RuleSource
from ratelimit.spenders import Spenders
from ratelimit.store import Policy, Store
from ratelimit.stores.memory import MemoryStore
from ratelimit.stores.memory_limits import MemoryLimits
from ratelimit.stores.redis import RedisStore, has_scripts
from ratelimit.stores.redis_limits import RedisLimits
from ratelimit.supervisor import supervise
from serving import collector
from serving.calls import Method, PromptHandler
from serving.clock import Clock, SystemClock
from serving.descriptors import open_all_that_may_be
from serving.digests import shower
from serving.fleet import dump, dump_page
from serving.following import Following
from serving.health import Health
from serving.health_service import health_handler
from serving.http import HttpServer
from serving.lifecycle import Lifecycle, Part
from serving.logs import configure
from serving.metrics import Registry
from serving.redis_client import RedisClient
from serving.reflection import reflection_handler
from serving.settings import SettingsError
from serving.sinks import Telemetry
from serving.transport import Transport, make_transport
from serving.workers import DUMP_PATH, Leash, WorkerFailed, last_dump_path
from serving.yaml_nodes import Bounds

SERVICE = "envoy.service.ratelimit.v3.RateLimitService"
HEALTH_NAME = "ratelimit"

_log = logging.getLogger(__name__)


class Service:
    """Everything of one process, made from its settings."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.registry = Registry()
        self.health = Health()
        self.stats = StatsTable(
            series_max=settings.stats.stats_series_max,
            domains_max=settings.stats.stats_domains_max,
            ttl_seconds=settings.stats.stats_series_ttl,
        )
        self.registry.add_source(lambda: self.stats.samples(clock.steady()))
        self.rules = Rules(settings.config, self.registry, shower(settings.log), make_home(settings))
        self.store = make_store(settings, self.registry, clock)
        self.outage = make_outage(settings, self.store, self.registry, clock, self.rules)
        self.source = make_source(settings, self.rules)
        self.telemetry = Telemetry(settings.stats, settings.http_clients, self.registry, settings.tracing, clock=clock)
        self.tracing: list[Part] = []
        self.rights = Rights([holder_of(token)] if (token := settings.api.token.get_secret_value()) else ())
        self.denials = DenialLog(settings.log.log_denials_per_second)
        self.spenders = make_spenders(settings.api)
        self.known_limits = KnownLimits()
        self.limits = make_limits(settings, self.registry, clock)
        self.refreshing = Refreshing(
            self.limits,
            self.known_limits,
            self.rules,
            clock,
            self.registry,
            interval_seconds=settings.limiter.dynamic_limits_refresh,
        )
        self.limiter, self.planner = self._limiter()
        self.rls = self._rls()
        self.apis = self._apis()
        self.should_rate_limit = self._traced(self.rls.should_rate_limit)
        self.grpc = self._grpc()

    def parts(self, worker_path: str = "") -> Sequence[Part]:
        """List what runs, in the order of starting; a worker has its debug pages on a socket, once all else runs."""
        settings, clients = self.settings.http, self.settings.http_clients
        answering = JsonRls(self.should_rate_limit, errors_as_400=self.settings.health.json_errors_as_400)
        pages = main_pages(self.health, answering, self.clock, self.settings.redis.timeout)
        debug = {
            **debug_pages(self.rules, self.registry, self.telemetry.page, self.clock),
            **admin_pages(self.apis.admin, self.clock, self.settings.redis.timeout),
        }
        body_bytes_max = settings.http_body_bytes_max
        if worker_path:
            pages_seen = {**debug, DUMP_PATH: dump_page(self.registry)}
            before: list[Part] = [Leash()]
            after: list[Part] = [HttpServer(worker_path, pages_seen, clients, self.registry, body_bytes_max)]
        else:
            place = settings.debug_host, settings.debug_port
            before = [self.telemetry, HttpServer(place, debug, clients, self.registry, body_bytes_max)]
            after = []
        return [
            *before,
            *self.tracing,
            HttpServer((settings.host, settings.port), pages, clients, self.registry, body_bytes_max),
            StoreWatch(
                self.store, self.health, self.outage, follows=self.settings.redis.health_check_active_connection
            ),
            RulesWatch(
                self.rules,
                self.source,
                make_overlay(self.settings.config, self.rules),
                self.health,
                self.settings.health,
            ),
            self.refreshing,
            *self._callers(),
            self.grpc,
            *after,
        ]

    def _limiter(self) -> tuple[Limiter, Planner]:
        limiter = self.settings.limiter
        cache = LocalCache(limiter.local_cache_size_in_bytes) if limiter.local_cache_size_in_bytes else None
        if cache is not None:
            self.store.on_refund(cache.forget)
            measure_cache(cache, self.registry)
        deciding = Limiter(
            self.store,
            self.clock,
            self.stats,
            windows=Windows(calendar_month=limiter.use_calendar_month_rate_limit),
            policy=Policy.STOP if limiter.stop_cache_key_increment_when_overlimit else Policy.BURN,
            jitter_seconds=limiter.expiration_jitter_max_seconds,
            local_cache=cache,
            outage=self.outage,
            spenders=self.spenders,
        )
        planner = Planner(
            key_prefix=limiter.cache_key_prefix, near_ratio=limiter.near_limit_ratio, limits=self.known_limits
        )
        return deciding, planner

    def _rls(self) -> EnvoyRls:
        return EnvoyRls(
            limiter=self.limiter,
            planner=self.planner,
            rules=self.rules,
            settings=self.settings.limiter,
            registry=self.registry,
            stats=self.stats,
            denials=self.denials,
            clock=self.clock,
        )

    def _apis(self) -> OwnApis:
        desk = Desk(
            limiter=self.limiter,
            planner=self.planner,
            rules=self.rules,
            rights=self.rights,
            denials=self.denials,
            clock=self.clock,
            registry=self.registry,
            descriptors_max=self.settings.limiter.descriptors_max,
        )
        return OwnApis(
            desk,
            self.settings.api,
            self.settings.limiter,
            self.spenders,
            self.limits,
            self.refreshing.refresh,
            shower(self.settings.log),
        )

    def _rlqs(self) -> RlqsApi:
        return RlqsApi(
            limiter=self.limiter,
            planner=self.planner,
            rules=self.rules,
            settings=self.settings.quota,
            clock=self.clock,
            registry=self.registry,
        )

    def _callers(self) -> list[Part]:
        api = self.settings.api
        if not api.callers_path:
            return []
        return [CallersWatch(api, self.rights, self.registry, sees_names=sees_names(self.settings))]

    def _traced(self, handler: PromptHandler) -> PromptHandler:
        if not self.settings.tracing.tracing_enabled:
            return handler
        from serving.tracing import Tracing  # noqa: PLC0415 - OpenTelemetry is loaded only where it is used

        tracing = Tracing(self.settings.tracing, self.clock)
        self.tracing.append(tracing)
        return tracing.traced(handler, SPAN, describe)

    def _grpc(self) -> Transport:
        described = {
            SERVICE: rls_pb2.DESCRIPTOR.services_by_name["RateLimitService"],
            rlqs.SERVICE: rlqs_pb2.DESCRIPTOR.services_by_name["RateLimitQuotaService"],
            **self.apis.described(),
        }
        grpc = self.settings.grpc
        return make_transport(
            # The front does not tell whose certificate a connection has.
            grpc.model_copy(update={"transport": "grpcio"}) if sees_names(self.settings) else grpc,
            [
                Method(PATH, self.should_rate_limit, keeps_trace=self.settings.tracing.tracing_enabled),
                *self.apis.methods(),
            ],
            self.clock,
            self.registry,
            handlers=[
                health_handler(self.health, HEALTH_NAME, watches_max=self.settings.grpc.grpc_health_watches_max),
                reflection_handler(described),
                *self.apis.handlers(),
                self._rlqs().handler(),
            ],
            grace_seconds=self.settings.lifecycle.drain_grace,
        )


def make_store(settings: Settings, registry: Registry, clock: Clock) -> Store:
    """Return the counters that BACKEND_TYPE names.

    Raises:
        SettingsError: it names memcache.
    """
    if settings.limiter.backend_type == "memory":
        return MemoryStore(settings.limiter.memory_counters_max, registry, holds_max=settings.limiter.holds_max)
    if settings.limiter.backend_type == "memcache":
        raise SettingsError("BACKEND_TYPE: memcache is not supported; use redis or memory")
    holds_max = settings.limiter.holds_max
    redis = RedisStore(settings.redis, settings.redis_per_second, registry, clock, holds_max=holds_max)
    return LeasingStore(redis, clock, registry, blocks_max=settings.limiter.lease_blocks_max)


def make_limits(settings: Settings, registry: Registry, clock: Clock) -> DynamicLimitStore:
    """Return where dynamic limits are kept: with the counters."""
    limiter = settings.limiter
    if limiter.backend_type == "memory":
        return MemoryLimits(clock, limits_max=limiter.dynamic_limits_max)
    return RedisLimits(
        lambda: RedisClient(settings.redis, registry, clock, pool="redis_limits_pool"),
        limits_max=limiter.dynamic_limits_max,
        key_prefix=limiter.cache_key_prefix,
    )


def make_outage(settings: Settings, store: Store, registry: Registry, clock: Clock, rules: Rules) -> Outage | None:
    """Return what answers while the store is away; a store in this process never is."""
    if settings.limiter.backend_type != "redis":
        return None
    local = MemoryStore(settings.limiter.memory_counters_max)
    outage = Outage(store, local, clock, registry, replay_max=settings.limiter.store_replay_max)

    def turn() -> None:
        outage.is_wanted = rules.current is not None and rules.current.survives_outages

    rules.subscribe(turn)
    return outage


def make_overlay(settings: ConfigSettings, rules: Rules) -> Following | None:
    """Return what follows the overlay file, if there is to be one."""
    if not settings.config_overlay_path:
        return None
    path, bounds = Path(settings.config_overlay_path), Bounds(settings.config_nodes_max, settings.config_depth_max)

    async def cover() -> None:
        try:
            overlay: Overlay | ConfigError = await asyncio.to_thread(
                overlay_file.load, path, settings.config_bytes_max, bounds
            )
        except ConfigError as error:
            overlay = error
        await rules.cover(overlay)

    return Following(path, cover, poll_seconds=settings.config_poll_interval, is_told=settings.config_watch == "auto")


def make_home(settings: Settings) -> Home:
    """Return what the store can do, as far as settings tell."""
    if settings.limiter.backend_type != "redis":
        return ANYWHERE
    redis = settings.redis
    return Home(has_scripts(redis), redis.type == "cluster", settings.redis_per_second is not None)


def make_source(settings: Settings, rules: Rules) -> RuleSource:
    """Return where CONFIG_TYPE says that rules come from."""
    if settings.config.config_type == "FILE":
        return FileSource(settings.config, rules.apply, shower(settings.log))
    return XdsSource(settings.config, rules.apply)


def sees_names(settings: Settings) -> bool:
    """Return whether rights may go by names in certificates: they are proved, and some rule asks for one.

    Raises:
        SettingsError: the transport that TRANSPORT names does not know them.
    """
    grpc, path = settings.grpc, settings.api.callers_path
    if not (path and grpc.grpc_server_use_tls and (grpc.grpc_client_tls_cacert or grpc.grpc_server_tls_ca_cert)):
        return False
    try:
        is_asked = any(rule.san for rule in load_callers(Path(path)))
    except ConfigError:
        return False  # starting ends with all that is wrong with it
    if is_asked and grpc.transport == "front":
        raise SettingsError("TRANSPORT: the front does not know names in certificates, which API_CALLERS_PATH asks for")
    return is_asked


def make_spenders(settings: ApiSettings) -> Spenders | None:
    """Return where spenders are remembered, if somebody may ask for them."""
    if not settings.spenders_max or not (settings.callers_path or settings.token.get_secret_value()):
        return None
    return Spenders(settings.spenders_max, settings.spenders_interval)


def measure_cache(cache: LocalCache, registry: Registry) -> None:
    """Show the local cache under the reference's names."""
    prefix = "ratelimit.localcache"
    registry.gauge(f"{prefix}.entryCount", lambda: len(cache))
    registry.gauge(f"{prefix}.hitCount", lambda: cache.hits)
    registry.gauge(f"{prefix}.missCount", lambda: cache.misses)
    registry.gauge(f"{prefix}.lookupCount", lambda: cache.hits + cache.misses)
    registry.gauge(f"{prefix}.evacuateCount", lambda: cache.evictions)
    registry.gauge(f"{prefix}.expiredCount", lambda: cache.expirations)
    registry.gauge(f"{prefix}.overwriteCount", lambda: cache.overwrites)


async def serve(settings: Settings, worker_path: str = "") -> None:
    """Serve until a signal; as a worker where there is a socket for its pages."""
    service = Service(settings, SystemClock())
    lifecycle = settings.lifecycle
    await Lifecycle(
        service.parts(worker_path),
        service.health,
        delay_seconds=lifecycle.drain_delay,
        grace_seconds=lifecycle.drain_grace,
    ).run()
    if worker_path:
        last_dump_path(Path(worker_path)).write_text(await dump(service.registry))


def main(arguments: Sequence[str] = ()) -> int:
    """Serve under the environment; return the exit status. Workers are told their socket: `--worker PATH`."""
    worker_path = arguments[1] if len(arguments) == 2 and arguments[0] == "--worker" else ""
    try:
        settings = service_settings.load()
        configure(settings.log)
        for remark in service_settings.environment_remarks() if not worker_path else ():
            _log.warning(remark)
        collector.settle()
        open_all_that_may_be()
        is_many = settings.lifecycle.workers > 1 and not worker_path
        uvloop.run(supervise(settings, SystemClock()) if is_many else serve(settings, worker_path))
    except (SettingsError, RatelimitError, WorkerFailed, OSError) as error:
        print(f"ratelimit: {error}", file=sys.stderr)  # noqa: T201 - there may be no log yet
        return 1
    return 0
