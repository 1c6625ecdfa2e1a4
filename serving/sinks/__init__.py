"""Where metrics go: statsd, dogstatsd or a Prometheus page; the log where none is chosen."""

from __future__ import annotations

from aiohttp import web

from serving.http import HttpServer
from serving.lifecycle import Part
from serving.metrics import Registry
from serving.settings import SettingsError, StatsSettings
from serving.sinks.lines import DogStatsd, Statsd
from serving.sinks.mapping import read_mapper
from serving.sinks.mogrifiers import read_mogrifiers
from serving.sinks.prometheus import Names, PrometheusPage
from serving.sinks.senders import Datagrams, Log, Sender, Stream
from serving.sinks.statsd import StatsdSink


class Telemetry:
    """The sink that the settings choose, and the page that is there in any case."""

    def __init__(self, settings: StatsSettings, registry: Registry) -> None:
        mapper = read_mapper(settings.prometheus_mapper_yaml) if settings.prometheus_mapper_yaml else None
        self.names = Names(mapper, settings.extra_tags)
        self.page = PrometheusPage(
            registry, self.names, times_in_milliseconds=settings.prometheus_response_time_as_milliseconds
        )
        self._sink = choose(settings, registry, self.page)

    async def start(self) -> None:
        """Begin to send, or to serve."""
        if self._sink is not None:
            await self._sink.start()

    async def stop(self) -> None:
        """Send what is left."""
        if self._sink is not None:
            await self._sink.stop()


def choose(settings: StatsSettings, registry: Registry, page: PrometheusPage) -> Part | None:
    """Return the sink, or None where nothing is to be sent anywhere.

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
        return prometheus_listener(settings, page)
    interval, host, port = settings.stats_flush_interval, settings.statsd_host, settings.statsd_port
    if settings.use_dog_statsd:
        dialect = DogStatsd(settings.extra_tags, read_mogrifiers(settings.use_dog_statsd_mogrifiers))
        return StatsdSink(interval, registry, dialect, Datagrams(host, port))
    sender: Sender = Log()
    if settings.use_statsd:
        sender = Datagrams(host, port) if settings.statsd_protocol == "udp" else Stream(host, port)
    return StatsdSink(interval, registry, Statsd(settings.extra_tags), sender)


def prometheus_listener(settings: StatsSettings, page: PrometheusPage) -> HttpServer:
    """Return the listener of PROMETHEUS_ADDR."""
    host, _, port = settings.prometheus_addr.rpartition(":")

    async def answer(_request: web.Request) -> web.Response:
        body, content_type = await page.render()
        return web.Response(body=body, headers={"Content-Type": content_type})

    return HttpServer(host.strip("[]") or "0.0.0.0", int(port), {settings.prometheus_path: answer}, 1024)  # noqa: S104 - as the reference
