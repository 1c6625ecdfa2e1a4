"""Where metrics go: statsd, dogstatsd or a Prometheus page, and OTLP beside; the log where none is chosen."""

from __future__ import annotations

import asyncio

from aiohttp import web

from serving.clock import Clock
from serving.http import HttpServer
from serving.lifecycle import Part
from serving.metrics import Registry
from serving.settings import HttpClientSettings, SettingsError, StatsSettings, TracingSettings
from serving.sinks.lines import DogStatsd, Statsd
from serving.sinks.mapping import read_mapper
from serving.sinks.mogrifiers import read_mogrifiers
from serving.sinks.prometheus import Names, PrometheusPage
from serving.sinks.senders import Datagrams, Log, Sender, Stream
from serving.sinks.statsd import StatsdSink


class Telemetry:
    """The sinks that the settings choose, and the page that is there in any case."""

    def __init__(
        self,
        settings: StatsSettings,
        clients: HttpClientSettings,
        registry: Registry,
        tracing: TracingSettings | None = None,
        *,
        clock: Clock,
    ) -> None:
        mapper = read_mapper(settings.prometheus_mapper_yaml) if settings.prometheus_mapper_yaml else None
        names = Names(mapper, settings.extra_tags)
        self.page = PrometheusPage(
            registry, names, times_in_milliseconds=settings.prometheus_response_time_as_milliseconds
        )
        otlp = tracing if tracing is not None and tracing.otlp_metrics_enabled and not settings.disable_stats else None
        sink = choose(settings, clients, registry, self.page, is_logged=otlp is None)
        self._sinks = [sink] if sink is not None else []
        if otlp is not None:
            self._sinks.append(otlp_sink(settings, otlp, registry, names, clock))

    async def start(self) -> None:
        """Begin to send, or to serve."""
        for sink in self._sinks:
            await sink.start()

    async def stop(self) -> None:
        """Send what is left."""
        await asyncio.gather(*(sink.stop() for sink in self._sinks))


def otlp_sink(
    settings: StatsSettings, tracing: TracingSettings, registry: Registry, names: Names, clock: Clock
) -> Part:
    """Return what exports metrics by OTLP."""
    # OpenTelemetry is loaded only where it is used.
    from serving.otlp import metric_exporter, resource  # noqa: PLC0415
    from serving.sinks.otlp import OtlpSink  # noqa: PLC0415

    interval = settings.stats_flush_interval
    return OtlpSink(interval, registry, names, metric_exporter(tracing), resource(tracing), clock)


def choose(
    settings: StatsSettings,
    clients: HttpClientSettings,
    registry: Registry,
    page: PrometheusPage,
    *,
    is_logged: bool = True,
) -> Part | None:
    """Return the sink, or None where nothing is to be sent; where none is chosen, the log, if that is wanted.

    Raises:
        SettingsError: two are chosen.
    """
    wants_statsd = settings.use_statsd and "use_statsd" in settings.model_fields_set
    chosen = [
        name
        for name, is_on in (
            ("USE_STATSD", wants_statsd), ("USE_DOG_STATSD", settings.use_dog_statsd), ("USE_PROMETHEUS", settings.use_prometheus),
        )
        if is_on
    ]  # fmt: skip
    if len(chosen) > 1:
        raise SettingsError(f"{' and '.join(chosen)}: only one sink of metrics may be chosen")
    if settings.disable_stats:
        return None
    if settings.use_prometheus:
        return prometheus_listener(settings, clients, registry, page)
    interval, host, port = settings.stats_flush_interval, settings.statsd_host, settings.statsd_port
    if settings.use_dog_statsd:
        dialect = DogStatsd(settings.extra_tags, read_mogrifiers(settings.use_dog_statsd_mogrifiers))
        return StatsdSink(interval, registry, dialect, Datagrams(host, port))
    if not settings.use_statsd and not is_logged:
        return None
    sender: Sender = Log()
    if settings.use_statsd:
        sender = Datagrams(host, port) if settings.statsd_protocol == "udp" else Stream(host, port)
    return StatsdSink(interval, registry, Statsd(settings.extra_tags), sender)


def prometheus_listener(
    settings: StatsSettings, clients: HttpClientSettings, registry: Registry, page: PrometheusPage
) -> HttpServer:
    """Return the listener of PROMETHEUS_ADDR."""
    host, _, port = settings.prometheus_addr.rpartition(":")

    async def answer(_request: web.BaseRequest) -> web.Response:
        body, content_type = await page.render()
        return web.Response(body=body, headers={"Content-Type": content_type})

    place = host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - as the reference
    return HttpServer(place, {settings.prometheus_path: answer}, clients, registry)
