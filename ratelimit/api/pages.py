"""The HTTP pages of the rate limit service."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiohttp import web

from ratelimit.api.json_rls import JsonRls
from ratelimit.source import Rules
from serving.clock import Clock
from serving.health import Health
from serving.health_page import health_page
from serving.http import Page, listing
from serving.metrics import Registry
from serving.profile import profile_page
from serving.sinks.names import number, tagged
from serving.sinks.pace import paced
from serving.sinks.prometheus import PrometheusPage
from serving.spans import trace_headers


def main_pages(health: Health, answering: JsonRls, clock: Clock, timeout_seconds: float) -> Mapping[str, Page]:
    """Return what callers ask: /healthcheck and /json; a call over /json waits `timeout_seconds` at most."""

    async def json(request: web.BaseRequest) -> web.Response:
        body = await request.read()
        peer = f"http:{request.remote}"
        trace = trace_headers((name.lower(), value) for name, value in request.headers.items())
        answer = await answering.answer(body, peer=peer, deadline=clock.steady() + timeout_seconds, trace=trace)
        # As the reference: without a charset, which aiohttp would add to text.
        return web.Response(
            status=answer.status, body=answer.body.encode(), headers={"Content-Type": answer.content_type}
        )

    return {"/healthcheck": health_page(health), "/json": json}


ABOUT = {
    "/": "these pages",
    "/rlconfig": "print out the currently loaded configuration",
    "/stats": "print out stats",
    "/metrics": "the same for Prometheus",
    "/admin/": "AdminService as JSON: POST /admin/Explain, GetCounters, ResetCounters, Grant, ListSpenders, ListRules",
    "/debug/profile": "stacks, sampled for ?seconds=5",
}


def debug_pages(rules: Rules, registry: Registry, page: PrometheusPage, clock: Clock) -> Mapping[str, Page]:
    """Return what operators ask: rules as loaded, statistics, metrics, profiles."""

    async def rlconfig(_request: web.BaseRequest) -> web.Response:
        # Off the event loop: it may be a hundred thousand lines.
        lines = await asyncio.to_thread(rules.current.dump) if rules.current is not None else []
        return web.Response(text="".join(f"{line}\n" for line in lines))

    return {
        "/": listing(ABOUT),
        "/rlconfig": rlconfig,
        **metrics_pages(registry, page),
        "/debug/profile": profile_page(clock),
    }


def metrics_pages(registry: Registry, page: PrometheusPage) -> Mapping[str, Page]:
    """Return /stats and /metrics."""

    async def stats(_request: web.BaseRequest) -> web.Response:
        await registry.refresh()
        samples = [
            f"{tagged(sample.name, sample.labels)}: {number(sample.value)}\n"
            async for sample in paced(registry.samples())
        ]
        return web.Response(text="".join(sorted(samples)))

    async def metrics(_request: web.BaseRequest) -> web.Response:
        body, content_type = await page.render()
        return web.Response(body=body, headers={"Content-Type": content_type})

    return {"/stats": stats, "/metrics": metrics}
