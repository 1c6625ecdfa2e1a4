"""Settings that every process has; the sentence under each field is the operator's manual.

Names, types and defaults are envoyproxy/ratelimit's wherever it has the setting, so that its
environment works unchanged. `docs/operations.md` is generated from these classes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

_PORT_MAX = 65_535
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


class SettingsError(Exception):
    """An environment variable cannot be used; the message names it, and its value where that is no secret."""


def seconds(value: object) -> object:
    """Read a duration as Go writes them: `1h30m`, `200ms`, `0`; a plain number counts as seconds.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    if _DURATION.sub("", text) == "" and text:
        return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"not a duration such as 200ms, 10s or 1h30m: '{text}'") from None


def pairs(value: object) -> object:
    """Read `key:value,key:value`; the first colon of each pair divides."""
    if not isinstance(value, str):
        return value
    return dict(pair.strip().split(":", 1) for pair in value.split(",") if ":" in pair)


def upper(value: object) -> object:
    """Take a choice in upper or lower case."""
    return value.upper() if isinstance(value, str) else value


def address(value: str) -> str:
    """Take an address to listen on.

    Raises:
        ValueError: it is none.
    """
    _, colon, port = value.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > _PORT_MAX:
        raise ValueError("not an address such as :9090 or 127.0.0.1:9090")
    return value


Seconds = Annotated[float, BeforeValidator(seconds)]
Wait = Annotated[float, BeforeValidator(seconds), Field(gt=0)]
"""A duration that cannot be 0."""
Pairs = Annotated[dict[str, str], BeforeValidator(pairs)]
Port = Annotated[int, Field(ge=0, le=_PORT_MAX)]
Count = Annotated[int, Field(ge=1)]
"""How many, or how much, there may be, where with none nothing would be served."""
Room = Annotated[int, Field(ge=0)]
"""The same where none is possible too."""


class Group(BaseSettings):
    """One block of the environment."""

    model_config = SettingsConfigDict(
        frozen=True,
        case_sensitive=False,
        extra="ignore",
        use_attribute_docstrings=True,
        env_ignore_empty=True,
        enable_decoding=False,
    )


class HttpSettings(Group):
    """The HTTP listeners."""

    host: str = "0.0.0.0"  # noqa: S104 - the reference's default
    """Address of /healthcheck and /json."""
    port: Port = 8080
    """Port of /healthcheck and /json; 0 picks a free one."""
    debug_host: str = "0.0.0.0"  # noqa: S104 - the reference's default
    """Address of the debug pages (/, /rlconfig, /stats, profiles)."""
    debug_port: Port = 6070
    """Port of the debug pages; 0 picks a free one."""
    http_body_bytes_max: Count = 4 * 1024 * 1024
    """Largest body that /json takes; above it 413."""


class HttpClientSettings(Group):
    """Clients of the HTTP listeners."""

    http_connections_max: Count = 1000
    """Connections at a time of each HTTP listener; further ones are closed at once."""
    http_client_timeout: Wait = 120.0
    """What a client has for all of its next request, from its connection or from the end of its last page on, and for
    taking that page; then its connection is cut. Longer than the pause between two scrapes, which share a connection."""


class GrpcSettings(Group):
    """The gRPC listener."""

    grpc_host: str = "0.0.0.0"  # noqa: S104 - the reference's default
    """Address that gRPC listens on."""
    grpc_port: Port = 8081
    """Port that gRPC listens on; 0 picks a free one."""
    grpc_uds: str = ""
    """Unix socket to listen on instead of the port."""
    grpc_max_connection_age: Seconds = 24 * 3600.0
    """Age at which a connection is told to go (GOAWAY), give or take 10 %; 0: never."""
    grpc_max_connection_age_grace: Seconds = 3600.0
    """What calls in flight have left after that."""
    grpc_server_use_tls: bool = False
    """Serve TLS."""
    grpc_server_tls_cert: str = ""
    """File of the certificate chain (PEM); read again when it is replaced."""
    grpc_server_tls_key: str = ""
    """File of its private key (PEM)."""
    grpc_client_tls_cacert: str = ""
    """File of the CA that client certificates must come from; set, a client without one is refused."""
    grpc_server_tls_ca_cert: str = ""
    """The same under the name that Envoy Gateway sets; used where GRPC_CLIENT_TLS_CACERT is empty."""
    grpc_client_tls_san: str = ""
    """DNS name that a client's certificate must carry; empty: any of the CA. A client without it is sent away, by the
    front after the handshake (UNAVAILABLE), by grpcio at each call (PERMISSION_DENIED)."""
    grpc_tls_handshake_timeout: Wait = 10.0
    """What a client has for its TLS handshake, and after it, or without TLS, for its first HTTP/2 frame; with grpcio for
    both together."""
    grpc_connections_max: Count = 10_000
    """Connections at a time, handshakes included; further ones are closed at once. Each takes three file descriptors before
    the front; the process raises its own limit of them as far as the system lets it (`ulimit -H -n`)."""
    grpc_relay_buffer_bytes_max: Count = 256 * 1024
    """What is kept before the front for a peer that reads slowly, per connection and direction; then the other side
    is read no more until it has caught up."""
    grpc_keepalive_time: Wait = 60.0
    """Silence after which a client is pinged, so that one that has vanished is noticed."""
    grpc_keepalive_timeout: Wait = 20.0
    """Wait for its answer before the connection is closed."""
    grpc_metadata_bytes_max: Count = 16 * 1024
    """Metadata of a call; more is refused."""
    grpc_message_bytes_max: Count = 4 * 1024 * 1024
    """Largest request message, unpacked where it is compressed; above it RESOURCE_EXHAUSTED, as gRPC's own default.
    The front refuses one above twice the size before it has come (INTERNAL)."""
    grpc_max_concurrent_streams: Count = 1024
    """Calls at a time on one connection."""
    grpc_streams_max: Count = 16_384
    """Calls and streams at a time on all connections, also those whose answers nobody takes: each costs 13 KiB until then,
    with grpcio 23. Where there are more before the front, the connection with most of them is ended; grpcio can end none,
    and refuses each further one (RESOURCE_EXHAUSTED)."""
    grpc_health_watches_max: Room = 1024
    """Streams of the health service's Watch at a time; beyond it RESOURCE_EXHAUSTED."""
    transport: Literal["auto", "front", "grpcio"] = "auto"
    """What speaks gRPC: the native front where it is installed (`auto`), only it (`front`), or the grpcio server. The
    front is several times faster; what it cannot do is done before it, or said in docs/front.md."""
    queue_calls_max: Count = 4096
    """Calls that may wait for a handler; beyond it RESOURCE_EXHAUSTED at once. Shared fairly between connections."""
    batch_calls_max: Count = 256
    """Calls that a handler is given at a time."""
    batches_in_flight_max: Count = 2
    """Batches under way at a time: the next is prepared while the store answers the last."""


class LifecycleSettings(Group):
    """Starting and stopping."""

    drain_delay: Seconds = 5.0
    """From SIGTERM on, health says NOT_SERVING while calls are still answered for so long: longer than the interval
    of the caller's health checks, or it goes on choosing a replica that has left."""
    drain_grace: Seconds = 10.0
    """What calls in flight have left after DRAIN_DELAY; then they are cut."""
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Processes that share the ports, each deciding on a core of its own; they are looked after by one more, which has
    the debug pages and the metrics of all. More than one needs counters in Redis, and a port: no Unix socket."""
    worker_restart_pause: Wait = 0.1
    """Wait before a worker that ended is started again; doubled each time."""
    worker_restart_pause_max: Wait = 10.0
    """Longest such wait. A worker that has stood for so long is started again after the shortest."""


class LogSettings(Group):
    """Logs, on standard error."""

    log_level: Annotated[
        Literal["TRACE", "DEBUG", "INFO", "WARN", "WARNING", "ERROR", "FATAL", "PANIC"], BeforeValidator(upper)
    ] = "WARN"
    """Least severity written; upper or lower case."""
    log_format: Literal["text", "json"] = "text"
    """`json` writes `@timestamp`, `level`, `@message` and fields."""
    log_denials_per_second: float = 1.0
    """Denials logged a second at most (rule, file, line), at INFO; how many were left out is logged with the next.
    0: none."""
    hash_values: bool = False
    """Replace values of descriptors by a short hash in logs, metrics and debug pages, for values that are secrets
    (API keys) or personal. The same value has the same hash everywhere."""
    hash_values_key: SecretStr = SecretStr("")
    """Key of those hashes: without it, who guesses a value can find it. Give all replicas the same. Never logged."""


class StatsSettings(Group):
    """Metrics."""

    use_statsd: bool = True
    """Send counters to statsd. Where neither it nor another sink is on, they are logged at INFO, one line each."""
    statsd_protocol: Literal["tcp", "udp"] = "tcp"
    """How statsd is spoken."""
    statsd_host: str = "localhost"
    """Host of statsd."""
    statsd_port: Port = 8125
    """Port of statsd."""
    use_dog_statsd: bool = False
    """Send to dogstatsd (with tags) instead."""
    use_dog_statsd_mogrifiers: str = ""
    """Names of rewriting rules, comma-separated; each has DOG_STATSD_MOGRIFIER_<NAME>_PATTERN, _NAME and _TAGS."""
    use_prometheus: bool = False
    """Serve a Prometheus page instead. Only one of statsd, dogstatsd and Prometheus may be chosen explicitly."""
    prometheus_addr: Annotated[str, AfterValidator(address)] = ":9090"
    """Address of that page."""
    prometheus_path: str = "/metrics"
    """Its path."""
    prometheus_mapper_yaml: str = ""
    """File with rules from dotted names to series, as statsd_exporter reads them; they come before the built-in ones.
    Its words about summaries, buckets and life do nothing."""
    prometheus_response_time_as_milliseconds: bool = False
    """Tell response times in milliseconds under the seconds name, as older dashboards expect."""
    extra_tags: Pairs = {}
    """Tags (labels on the Prometheus page) added to every metric, `key:value,key:value`."""
    stats_flush_interval: Wait = 10.0
    """Time between two sends to statsd."""
    disable_stats: bool = False
    """No metrics anywhere."""
    stats_series_max: Room = 10_000
    """Series that rules may make; further ones are counted under `other`."""
    stats_domains_max: Room = 100
    """Domains with an `other` of their own; those of further ones share one."""
    stats_series_ttl: Wait = 3600.0
    """A rule's series that has not moved for so long is dropped; longer than STATS_FLUSH_INTERVAL."""


class MogrifierSettings(Group):
    """One rule that rewrites names for dogstatsd."""

    # A template: each rule is read under its own name.
    model_config = SettingsConfigDict(env_prefix="DOG_STATSD_MOGRIFIER_<NAME>_")

    pattern: str = ""
    """Regular expression, looked for anywhere in the dotted name; the first rule that fits is used."""
    name: str = ""
    """The name in its place; `$1` is what the first group found."""
    tags: Pairs = {}
    """Tags added, `key:value,key:value`, with the same references."""


class TracingSettings(Group):
    """OpenTelemetry. Where to, with what headers and bounds is said by the standard OTEL_EXPORTER_OTLP_*, OTEL_BSP_* and
    OTEL_RESOURCE_ATTRIBUTES.
    """

    tracing_enabled: bool = False
    """Export a span for each call, and one for its wait for Redis. A call joins its caller's trace (W3C or B3 headers)
    and its decision to sample. Spans wait in a queue of OTEL_BSP_MAX_QUEUE_SIZE, and are dropped beyond it."""
    tracing_exporter_protocol: Literal["http", "grpc"] = "http"
    """How OTLP is spoken, for spans and metrics."""
    tracing_service_name: str = "RateLimit"
    """`service.name`."""
    tracing_service_namespace: str = ""
    """`service.namespace`."""
    tracing_service_instance_id: str = ""
    """`service.instance.id`; empty: a random one."""
    tracing_sampling_rate: float = 1.0
    """Share of calls without a trace of their caller's that are kept, 0 to 1."""
    otlp_metrics_enabled: bool = False
    """Export metrics by OTLP too, every STATS_FLUSH_INTERVAL, under the names of the Prometheus page."""


class RedisSettings(Group):
    """The Redis (or Valkey) that counts."""

    model_config = SettingsConfigDict(env_prefix="REDIS_")

    socket_type: Literal["tcp", "unix"] = "unix"
    """How REDIS_URL is read: `tcp` is host:port, `unix` a path."""
    type: str = "SINGLE"
    """SINGLE, SENTINEL or CLUSTER; upper or lower case."""
    url: SecretStr = SecretStr("/var/run/nutcracker/ratelimit.sock")
    """Path; host:port; `master,host:port,…` of sentinels; `host:port,…` of cluster nodes. redis:// and rediss:// URLs
    with credentials are taken too. Never logged."""
    auth: SecretStr = SecretStr("")
    """`password` or `user:password`. Never logged."""
    auth_file: str = ""
    """File that holds the same; read again at each connection, so that a rotated secret is picked up."""
    sentinel_auth: SecretStr = SecretStr("")
    """Credentials of the sentinels."""
    tls: bool = False
    """Connect by TLS."""
    tls_client_cert: str = ""
    """File of the client certificate."""
    tls_client_key: str = ""
    """File of its key."""
    tls_cacert: str = ""
    """File of the CA of the server's certificate; empty: the system's."""
    tls_skip_hostname_verification: bool = False
    """Do not compare the server's name with its certificate."""
    timeout: Wait = 10.0
    """Bound on every wait for Redis: connecting, reading, writing. A call's own deadline cuts it shorter."""
    scripts: Literal["on", "off", "auto"] = "auto"
    """`off`: no scripts, for proxies that refuse them (twemproxy, Envoy's redis_proxy): INCRBY and EXPIRE in a
    pipeline, plain fixed windows only. `auto`: off on nutcracker's Unix socket, or where the server refuses a script."""
    startup_initial_interval: Wait = 1.0
    """First wait between attempts to reach Redis at start."""
    startup_max_interval: Wait = 30.0
    """Longest wait between them."""
    startup_max_elapsed_time: Seconds = 0.0
    """When to give up at start; 0: never."""
    health_check_active_connection: bool = False
    """Health follows the connection all the time, not only until it was reached first."""
    breaker_failures: Count = 5
    """Failures in a row after which calls fail at once instead of waiting."""
    breaker_probe_interval: Wait = 0.5
    """How often an open breaker lets one attempt through."""
    pipeline_ledgers_max: Count = 512
    """Calls put into one script call; larger batches are split."""
    in_flight_max: Count = 128
    """Batches that may wait for one server's answer; beyond it calls fail at once."""
    # Accepted for the reference's sake; one warning says that they do nothing here.
    pool_size: int = 10
    """Not used: one connection carries every batch."""
    pool_on_empty_behavior: str = ""
    """Not used: there is no pool."""
    pipeline_window: str = ""
    """Not used: calls that arrive together go together, and nobody waits for more."""
    pipeline_limit: str = ""
    """Not used: see REDIS_PIPELINE_LEDGERS_MAX."""
    cluster_pipeline_parallelism: str = ""
    """Not used: all nodes are asked at the same time."""
    close_connection_on_readonly_error: bool = True
    """Not used: a READONLY answer always makes us connect again."""


class PerSecondRedisSettings(RedisSettings):
    """The Redis that counts limits per second, where it is another."""

    model_config = SettingsConfigDict(env_prefix="REDIS_PERSECOND_")


_Group = TypeVar("_Group", bound=Group)


def read(group: type[_Group], **options: Any) -> _Group:  # noqa: ANN401 - options of pydantic-settings
    """Read one block from the environment.

    Raises:
        SettingsError: a variable cannot be used; all of them are named.
    """
    prefix = str(options.get("_env_prefix", group.model_config.get("env_prefix", "")))
    try:
        return group(**options)
    except ValidationError as error:
        raise SettingsError("; ".join(_blame(group, prefix, dict(problem)) for problem in error.errors())) from None


def check(groups: Iterable[type[Group]]) -> None:
    """See that every variable can be used that these groups read.

    Raises:
        SettingsError: some cannot be; all of them are named.
    """
    problems: list[str] = []
    for group in groups:
        try:
            read(group)
        except SettingsError as error:
            problems.append(str(error))
    if problems:
        raise SettingsError("; ".join(problems))


def _blame(group: type[Group], prefix: str, problem: dict[str, Any]) -> str:
    field = str(problem["loc"][0]).removeprefix(prefix.lower())
    known = group.model_fields.get(field)
    is_secret = known is not None and known.annotation is SecretStr
    value = "" if is_secret else f" (is '{problem['input']}')"
    return f"{prefix}{field.upper()}: {problem['msg'].removeprefix('Value error, ')}{value}"
