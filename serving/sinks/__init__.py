"""Where metrics go: statsd, dogstatsd or a Prometheus page."""

from __future__ import annotations

from aiohttp import web

from serving.clock import Clock
from serving.http import HttpServer
from serving.lifecycle import Part
from serving.metrics import Registry
from serving.settings import SettingsError, StatsSettings
from serving.sinks.lines import DogStatsd, Statsd
from serving.sinks.mogrifiers import read_mogrifiers
from serving.sinks.prometheus import render
from serving.sinks.statsd import StatsdSink


class Telemetry:
    """The sink that the settings choose."""

    def __init__(self, settings: StatsSettings, registry: Registry, clock: Clock) -> None:
        del clock
        self._sink = choose(settings, registry)

    async def start(self) -> None:
        """Begin to send, or to serve."""
        if self._sink is not None:
            await self._sink.start()

    async def stop(self) -> None:
        """Send what is left."""
        if self._sink is not None:
            await self._sink.stop()


def choose(settings: StatsSettings, registry: Registry) -> Part | None:
    """Return the sink, or None where nothing is sent.

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
        return prometheus_page(settings, registry)
    if settings.use_dog_statsd:
        dialect = DogStatsd(settings.extra_tags, read_mogrifiers(settings.use_dog_statsd_mogrifiers))
        return StatsdSink(settings, registry, dialect, is_datagram=True)
    if settings.use_statsd:
        return StatsdSink(
            settings, registry, Statsd(settings.extra_tags), is_datagram=settings.statsd_protocol == "udp"
        )
    return None


def prometheus_page(settings: StatsSettings, registry: Registry) -> HttpServer:
    """Return the listener of PROMETHEUS_ADDR."""
    host, _, port = settings.prometheus_addr.rpartition(":")

    async def answer(_request: web.Request) -> web.Response:
        body, content_type = render(registry)
        return web.Response(body=body, headers={"Content-Type": content_type})

    return HttpServer(host.strip("[]") or "0.0.0.0", int(port), {settings.prometheus_path: answer}, 1024)  # noqa: S104 - as the reference
