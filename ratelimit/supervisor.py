"""The process above WORKERS: it holds the ports, starts them, and shows them as one service."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack

from ratelimit.api.pages import ABOUT, metrics_pages
from ratelimit.settings import Settings
from serving.clock import Clock
from serving.health import Health
from serving.http import HttpServer, listing
from serving.lifecycle import Lifecycle, Part
from serving.metrics import Registry
from serving.settings import SettingsError
from serving.sinks import Telemetry
from serving.workers import Bounds, Workers, reserve

# What a worker needs beyond its delay and its grace to clean up.
_STOP_MARGIN_SECONDS = 10.0


async def supervise(settings: Settings, clock: Clock) -> None:
    """Keep WORKERS processes running until a signal.

    Raises:
        SettingsError: they could not share their work.
        OSError: a port belongs to somebody else.
        WorkerFailed: none of them can start.
    """
    _check(settings)
    lifecycle = settings.lifecycle
    stop_seconds = lifecycle.drain_delay + lifecycle.drain_grace + _STOP_MARGIN_SECONDS
    registry = Registry()
    with ExitStack() as held:
        ports = {
            name: held.enter_context(reserve(host, port)).getsockname()[1]
            for name, host, port in (
                ("GRPC_PORT", settings.grpc.grpc_host, settings.grpc.grpc_port),
                ("PORT", settings.http.host, settings.http.port),
            )
        }
        workers = Workers(
            [sys.executable, "-m", "ratelimit", "--worker"],
            {**os.environ, **{name: str(port) for name, port in ports.items()}},
            Bounds(lifecycle.workers, lifecycle.worker_restart_pause, lifecycle.worker_restart_pause_max, stop_seconds),
            registry,
            clock,
            series_max=settings.stats.stats_series_max,
        )
        telemetry = Telemetry(settings.stats, settings.http_clients, registry, settings.tracing, clock=clock)
        parts: list[Part] = [telemetry, _debug_listener(settings, workers, registry, telemetry), workers]
        # No delay of ours: it is the workers that drain, from the moment of the signal.
        await Lifecycle(parts, Health(), delay_seconds=0.0, grace_seconds=stop_seconds, on_hurry=workers.hurry).run()


def _check(settings: Settings) -> None:
    if settings.limiter.backend_type == "memory":
        raise SettingsError("WORKERS: processes cannot share counters in memory; use BACKEND_TYPE=redis, or one worker")
    if settings.grpc.grpc_uds:
        raise SettingsError("WORKERS: processes cannot share a Unix socket; use GRPC_PORT, or one worker")


def _debug_listener(settings: Settings, workers: Workers, registry: Registry, telemetry: Telemetry) -> HttpServer:
    http = settings.http
    about = {
        **ABOUT,
        "/debug/profile": "stacks of one worker, sampled for ?seconds=5 (&worker=0)",
        "/workers": "number and process of each worker",
    }
    pages = {
        "/": listing(about),
        "/rlconfig": workers.page("/rlconfig"),
        **metrics_pages(registry, telemetry.page),
        "/debug/profile": workers.page("/debug/profile"),
        "/workers": workers.listing,
    }
    return HttpServer(
        (http.debug_host, http.debug_port), pages, settings.http_clients, registry, http.http_body_bytes_max
    )
