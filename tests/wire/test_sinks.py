"""Metrics as they leave the process: statsd, dogstatsd and the Prometheus page."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from serving.clock import SystemClock
from serving.http import HttpServer
from serving.metrics import Registry
from serving.settings import HttpClientSettings, SettingsError, StatsSettings
from serving.sinks import Telemetry, choose
from serving.sinks.prometheus import Names, PrometheusPage
from tests.fakes.statsd import Statsd
from tests.wire.gate import until

CLOCK = SystemClock()
HTTP = HttpClientSettings()


@pytest.fixture
async def statsd() -> AsyncIterator[Statsd]:
    server = Statsd()
    await server.start()
    yield server
    await server.stop()


def settings(statsd: Statsd, **more: Any) -> StatsSettings:
    return StatsSettings(statsd_host="127.0.0.1", statsd_port=statsd.port, stats_flush_interval=0.02, **more)


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
async def test_statsd_adds_up_to_what_was_counted(statsd: Statsd, protocol: str) -> None:
    registry = Registry()
    telemetry = Telemetry(settings(statsd, statsd_protocol=protocol), HTTP, registry, clock=CLOCK)
    await telemetry.start()
    registry.counter("c").add(2)
    await until(lambda: statsd.counters.get("c") == 2)
    registry.counter("c").add(3)

    await telemetry.stop()

    await until(lambda: statsd.counters.get("c") == 5)


async def test_dogstatsd_has_tags(statsd: Statsd) -> None:
    registry = Registry()
    telemetry = Telemetry(settings(statsd, use_dog_statsd=True, extra_tags={"zone": "a"}), HTTP, registry, clock=CLOCK)
    registry.counter("c", method="M").add(2)

    await telemetry.start()

    await until(lambda: statsd.counters.get("c|#method:M,zone:a") == 2)
    await telemetry.stop()


async def test_a_statsd_that_is_away_is_warned_about_and_found_again(caplog: pytest.LogCaptureFixture) -> None:
    statsd, registry = Statsd(), Registry()
    await statsd.start()
    await statsd.stop()
    telemetry = Telemetry(settings(statsd), HTTP, registry, clock=CLOCK)
    registry.gauge("g", lambda: 1)
    await telemetry.start()
    await until(lambda: bool(caplog.messages))

    await statsd.start(port=statsd.port)

    await until(lambda: statsd.gauges.get("g") == 1)
    assert caplog.messages == [f"statsd at 127.0.0.1:{statsd.port} is away"]
    await telemetry.stop()
    await statsd.stop()


async def test_the_prometheus_page_is_served_where_the_settings_say() -> None:
    registry = Registry()
    registry.counter("c").add(2)
    chosen = StatsSettings(use_prometheus=True, prometheus_addr="127.0.0.1:0", prometheus_path="/numbers")
    listener = choose(chosen, HTTP, registry, PrometheusPage(registry, Names()))
    assert isinstance(listener, HttpServer)
    await listener.start()

    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{listener.port}/numbers") as page:
        text = await page.text()

    assert (page.status, page.content_type, "\nc 2\n" in text) == (200, "text/plain", True)
    await listener.stop()


def test_two_sinks_cannot_be_chosen() -> None:
    chosen = StatsSettings(use_statsd=True, use_prometheus=True)

    with pytest.raises(SettingsError) as raised:
        Telemetry(chosen, HTTP, Registry(), clock=CLOCK)

    assert str(raised.value) == "USE_STATSD and USE_PROMETHEUS: only one sink of metrics may be chosen"


async def test_without_stats_nothing_is_sent(statsd: Statsd) -> None:
    telemetry = Telemetry(settings(statsd, disable_stats=True), HTTP, Registry(), clock=CLOCK)

    await telemetry.start()
    await telemetry.stop()

    assert list(statsd.lines) == []


@pytest.mark.parametrize(("is_exported", "is_logged"), [(False, True), (True, False)])
async def test_numbers_are_logged_where_nobody_else_takes_them(
    caplog: pytest.LogCaptureFixture, *, is_exported: bool, is_logged: bool
) -> None:
    caplog.set_level(logging.INFO)
    registry = Registry()
    registry.counter("c").add(1)
    sink = choose(
        StatsSettings(use_statsd=False), HTTP, registry, PrometheusPage(registry, Names()), is_logged=not is_exported
    )
    if sink is not None:
        await sink.start()
        await sink.stop()

    assert ("c:1|c" in caplog.messages) == is_logged
