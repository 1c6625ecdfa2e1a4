"""Settings of the rate limit service; names and defaults are envoyproxy/ratelimit's where it has them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from serving.environment import names_of, remarks
from serving.listeners import apart
from serving.settings import (
    Count,
    Group,
    GrpcSettings,
    HttpClientSettings,
    HttpSettings,
    LifecycleSettings,
    LogSettings,
    Pairs,
    PerSecondRedisSettings,
    RedisSettings,
    Room,
    Seconds,
    SettingsError,
    StatsSettings,
    TracingSettings,
    Wait,
    check,
    read,
)


class ConfigSettings(Group):
    """Where rules come from."""

    config_type: Literal["FILE", "GRPC_XDS_SOTW"] = "FILE"
    """Files, or a management server over ADS."""
    force_start_without_initial_config: bool = False
    """Open the port before the first rules came from the management server."""
    merge_domain_config: bool = False
    """Several files may add rules to one domain."""
    runtime_root: str = "/srv/runtime_data/current"
    """Top of the rule files; with RUNTIME_WATCH_ROOT a symbolic link that is swapped."""
    runtime_subdirectory: str = ""
    """Folder below it."""
    runtime_appdirectory: str = "config"
    """Folder below that, which holds the rule files."""
    runtime_ignoredotfiles: bool = False
    """Leave out files whose name starts with a dot."""
    runtime_watch_root: bool = True
    """Watch for a swap of RUNTIME_ROOT; false: for changes of files in the folder."""
    config_overlay_path: str = ""
    """File that lays keys of ours over rules of any source, those of a management server too; empty: none. It is read
    again when it changes."""
    config_watch: Literal["auto", "poll"] = "auto"
    """How changes of files are seen: told by the system (`auto`), or looked for (`poll`, for file systems that do not
    tell, such as NFS). Where the system cannot tell, looking is all there is."""
    config_poll_interval: Wait = 5.0
    """Time between two looks at the files, also under `auto`: the bound on how late a change is seen."""
    config_settle_time: Seconds = 0.05
    """Files must have been still for so long before they are read, for writers that write in pieces."""
    config_files_max: Count = 10_000
    """Rule files; with more, the set is refused."""
    config_bytes_max: Count = 16 * 1024 * 1024
    """Size of all rule files together; a ConfigMap holds 1 MiB."""
    config_nodes_max: Count = 1_000_000
    """YAML values in one rule file, aliases written out."""
    config_depth_max: Count = 100
    """Nesting of YAML lists and maps; a level of descriptors takes two."""
    config_rules_max: Count = 100_000
    """Descriptors in a set of rules, whatever it came from."""
    config_problems_logged_max: Count = 50
    """Lines that one refused set may write to the log; the rest is counted in a last line."""
    config_grpc_xds_node_id: str = "default"
    """Node id told to the management server."""
    config_grpc_xds_node_metadata: str = ""
    """Node metadata, `key=value,key=value`."""
    config_grpc_xds_server_url: str = "localhost:18000"
    """Address of the management server."""
    config_grpc_xds_server_connect_retry_interval: Wait = 3.0
    """Wait after a connection that failed."""
    config_grpc_xds_client_additional_headers: Pairs = {}
    """Metadata sent with the stream, `key:value,key:value`. Values are never logged."""
    config_grpc_xds_server_use_tls: bool = False
    """Connect by TLS."""
    config_grpc_xds_client_tls_cert: str = ""
    """File of the client certificate."""
    config_grpc_xds_client_tls_key: str = ""
    """File of its key."""
    config_grpc_xds_server_tls_cacert: str = ""
    """File of the CA of the management server; empty: the system's."""
    config_grpc_xds_server_tls_san: str = ""
    """Name its certificate must carry, where it differs from the address."""
    xds_client_backoff_initial_interval: Seconds = 10.0
    """First wait after a stream that broke."""
    xds_client_backoff_max_interval: Seconds = 60.0
    """Longest wait."""
    xds_client_backoff_random_factor: float = 0.5
    """Share of the wait that is random."""
    xds_client_backoff_jitter: bool = True
    """Whether waits are random at all."""
    xds_client_max_msg_size_in_bytes: Room = 0
    """Largest message from the management server; 0: gRPC's default of 4 MiB."""
    xds_client_keepalive_time: Wait = 360.0
    """Time between pings on an idle stream. Go's gRPC servers hang up on clients that ping more often than every
    five minutes."""
    xds_client_keepalive_timeout: Wait = 20.0
    """Wait for the answer to a ping before the connection counts as broken."""
    xds_client_nack_interval: Seconds = 1.0
    """Least time between two refusals in a row: some management servers send a refused set again at once."""


class LimiterSettings(Group):
    """Counting."""

    backend_type: Literal["redis", "memory", "memcache"] = "redis"
    """Where counters live. `memory` counts in this process only; `memcache` is refused."""
    expiration_jitter_max_seconds: Room = 300
    """Random seconds added to the life of a counter, so that not all expire together."""
    local_cache_size_in_bytes: Room = 0
    """Size of the in-process memory of counters that are over; 0: none."""
    near_limit_ratio: float = 0.8
    """Share of a limit above which hits count as near it."""
    cache_key_prefix: str = ""
    """Put before every counter key."""
    stop_cache_key_increment_when_overlimit: bool = False
    """Where one limit of a request would go over, do not charge the others."""
    use_calendar_month_rate_limit: bool = False
    """Months start on their first day, 00:00 UTC, instead of every 30 days."""
    request_id_entry: str = "_request_id"
    """Descriptor entry that carries a request id: taken out before matching, and from keys, metrics and metadata."""
    phase_entry: str = "_phase"
    """Descriptor entry that says which call of a request this is, `check` or `charge`; taken out too. A charge is never
    refused; a `look` neither spends nor reserves. Without it a call is understood by its hits and its request id."""
    token_kind_entry: str = "_token_kind"  # noqa: S105 - no password
    """Descriptor entry that names the kind of token that its hits are (`input`, `output`, ...), for `weights`; taken out
    too."""
    store_replay_max: Room = 0
    """Charges that wait to be made later where the store was away and a rule's `on_store_error` let them pass; beyond it
    the oldest is lost. 0: none waits, all are told as lost. Charges that may have happened never wait."""
    lease_blocks_max: Room = 10_000
    """Counters of which this replica may hold a block at a time, for rules with `lease`; others are asked for each call."""
    holds_max: Count = 100_000
    """Reservations that one counter may have at a time, and charged request ids that it remembers."""
    dynamic_limits_max: int = Field(default=100_000, ge=1)
    """Dynamic limits that may be in force at a time, for rules with a `ceiling`; beyond it SetLimit is RESOURCE_EXHAUSTED.
    Each replica keeps all of them in memory, some 25 MiB for 100,000 of two entries."""
    dynamic_limits_refresh: Seconds = Field(default=1.0, gt=0)
    """Time between two looks at what changed among them. A change is in force on every replica after this and REDIS_TIMEOUT
    at most, as long as Redis answers; while it does not, the last known stay in force. Without a rule that has a `ceiling`
    nobody looks."""
    charge_expected_within: Seconds = 600.0
    """A counter that is checked with 0 hits is expected to be charged afterwards: what is not after so long is counted
    as `weir.metering.checks_without_charge`. Longer than the longest stream. 0: not watched."""
    charges_expected_max: Room = 10_000
    """Counters watched for that; further ones are not watched."""
    memory_counters_max: Count = 1_000_000
    """Counters the memory backend holds; beyond it those that expire first are dropped."""
    descriptors_max: Count = 1_000
    """Descriptors in one request; above it INVALID_ARGUMENT."""
    plans_max: Room = 65_536
    """Requests whose meaning is remembered (by their bytes); those of LimiterService by themselves."""
    plans_bytes_max: Room = 48 * 1024 * 1024
    """Memory for those, roughly."""


class ModeSettings(Group):
    """Switches that are read again at each load of rules."""

    shadow_mode: bool = False
    """Count and report, never deny."""
    quota_mode: bool = False
    """Every rule is a quota rule: a request is denied only if all its limits are over."""
    response_dynamic_metadata: bool = False
    """Return the request and the metadata of its rules as dynamic metadata."""
    limit_response_headers_enabled: bool = False
    """Add limit headers to the response."""
    limit_limit_header: str = "RateLimit-Limit"
    """Name of the header with the limit."""
    limit_remaining_header: str = "RateLimit-Remaining"
    """Name of the header with what is left."""
    limit_reset_header: str = "RateLimit-Reset"
    """Name of the header with the seconds to the end of the window."""
    limit_request_headers_enabled: bool = False
    """Add limit headers to the upstream request."""
    limit_request_limit_header: str = "RateLimit-Limit"
    """Its header with the limit."""
    limit_request_remaining_header: str = "RateLimit-Remaining"
    """Its header with what is left."""
    limit_request_reset_header: str = "RateLimit-Reset"
    """Its header with the seconds to the end of the window."""


class ApiSettings(Group):
    """LimiterService, AdminService and Kuadrant's service. They answer PERMISSION_DENIED to whom nothing here names."""

    model_config = SettingsConfigDict(env_prefix="API_")

    callers_path: str = ""
    """YAML file with a list under `callers`: each has one of `san` (a name in the client's certificate), `token_sha256` (of
    the bearer token that it sends) and `anyone: true`, its `roles` (`ask`, `settle`, `refund`, `administer`) and its
    `domains` (none: all). Read again when it changes; a file with a problem never replaces a good one."""
    callers_poll_interval: Seconds = Field(default=5.0, gt=0)
    """Time between two looks at that file, also where the system tells of changes: the bound on how late one is seen."""
    token: SecretStr = SecretStr("")
    """Bearer token of one caller who may do everything, beside that file. Empty: there is none. Never logged."""
    spenders_max: int = Field(default=1_000, ge=0)
    """Descriptors remembered by what they spent, for `weir top`, in each process; kept only where a caller may ask for
    them. 0: none."""
    spenders_interval: Seconds = Field(default=60.0, gt=0)
    """What they spent is told for the present interval and the one before."""
    exchange_calls_max: int = Field(default=1_024, ge=1)
    """Calls in one message of an Exchange stream; with more the stream ends in RESOURCE_EXHAUSTED."""


class HealthSettings(Group):
    """What health waits for, and how errors are spoken."""

    healthy_with_at_least_one_config_loaded: bool = False
    """NOT_SERVING until at least one domain is loaded."""
    json_errors_as_400: bool = False
    """Answer errors of the service on /json with 400 instead of 5xx, as the reference does."""


class QuotaSettings(Group):
    """Envoy's rate limit quota service (RLQS)."""

    model_config = SettingsConfigDict(env_prefix="RLQS_")

    assignment_ttl: Seconds = Field(default=30.0, gt=0)
    """How long an assignment holds without a report that renews it; then the gateway falls back as it is configured."""
    abandon_after: Seconds = Field(default=600.0, gt=0)
    """A bucket that nobody used for so long is forgotten, and the gateway told to report on it no more."""
    charge_timeout: Seconds = Field(default=1.0, gt=0)
    """Bound on counting one report."""
    streams_max: int = Field(default=1_000, ge=1)
    """Streams at a time; beyond it RESOURCE_EXHAUSTED."""
    buckets_max: int = Field(default=10_000, ge=1)
    """Buckets of one stream; beyond it the stream ends with INVALID_ARGUMENT."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All of them, read once."""

    http: HttpSettings
    http_clients: HttpClientSettings
    grpc: GrpcSettings
    lifecycle: LifecycleSettings
    log: LogSettings
    stats: StatsSettings
    tracing: TracingSettings
    redis: RedisSettings
    redis_per_second: PerSecondRedisSettings | None
    config: ConfigSettings
    limiter: LimiterSettings
    api: ApiSettings
    quota: QuotaSettings
    health: HealthSettings


class PerSecondSwitch(Group):
    """The second Redis."""

    redis_persecond: bool = False
    """Count limits per second in a Redis of their own, set up by the REDIS_PERSECOND_ names."""


GROUPS: tuple[type[Group], ...] = (
    HttpSettings, HttpClientSettings, GrpcSettings, LifecycleSettings, LogSettings, StatsSettings, TracingSettings,
    RedisSettings, PerSecondSwitch, PerSecondRedisSettings, ConfigSettings, LimiterSettings, ModeSettings, ApiSettings,
    QuotaSettings, HealthSettings,
)  # fmt: skip
"""Every group that the service reads."""

# Not GRPC_ and OTEL_: libraries read names of their own there.
OUR_PREFIXES = (
    "API_CALLERS_", "API_EXCHANGE_", "API_SPENDERS_", "CACHE_KEY_", "CONFIG_", "DRAIN_", "DYNAMIC_", "LIMIT_", "LOCAL_CACHE_", "PLANS_", "PROMETHEUS_", "REDIS_", "RUNTIME_", "STATSD_",
    "STATS_", "TRACING_", "XDS_CLIENT_",
)  # fmt: skip
ABSENT = {"MEMCACHE_": "there is no memcache"}


def load() -> Settings:
    """Read the environment.

    Raises:
        SettingsError: some variables cannot be used; all of them are named.
    """
    redis_per_second = PerSecondRedisSettings if _has_per_second() else None
    check(group for group in GROUPS if group is not PerSecondRedisSettings or redis_per_second)
    settings = Settings(
        http=read(HttpSettings),
        http_clients=read(HttpClientSettings),
        grpc=read(GrpcSettings),
        lifecycle=read(LifecycleSettings),
        log=read(LogSettings),
        stats=read(StatsSettings),
        tracing=read(TracingSettings),
        redis=read(RedisSettings),
        redis_per_second=read(redis_per_second) if redis_per_second else None,
        config=read(ConfigSettings),
        limiter=read(LimiterSettings),
        api=read(ApiSettings),
        quota=read(QuotaSettings),
        health=read(HealthSettings),
    )
    apart(_places(settings))
    return settings


def _places(settings: Settings) -> dict[str, tuple[str, int]]:
    http, grpc, stats = settings.http, settings.grpc, settings.stats
    places = {"PORT": (http.host, http.port), "DEBUG_PORT": (http.debug_host, http.debug_port)}
    if not grpc.grpc_uds:
        places["GRPC_PORT"] = grpc.grpc_host, grpc.grpc_port
    if stats.use_prometheus:
        host, _, port = stats.prometheus_addr.rpartition(":")
        places["PROMETHEUS_ADDR"] = host, int(port)
    return places


def _has_per_second() -> bool:
    try:
        return read(PerSecondSwitch).redis_persecond
    except SettingsError:
        return False  # it is told with the others


def environment_remarks() -> list[str]:
    """List names in the environment that do nothing, or look misspelt."""
    return remarks(tuple(os.environ), names_of(GROUPS), prefixes=OUR_PREFIXES, absent=ABSENT)
