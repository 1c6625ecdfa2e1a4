"""/healthcheck over `Health`."""

from __future__ import annotations

from aiohttp import web

from serving.health import Health
from serving.http import Page


def health_page(health: Health) -> Page:
    """Return the page: 200 `OK` or 500 without a body; with `?details`, every component and whether it is up."""

    async def answer(request: web.BaseRequest) -> web.Response:
        status = 200 if health.is_serving else 500
        if "details" in request.query:
            lines = [f"{name}: {'up' if is_up else 'down'}\n" for name, is_up in sorted(health.components.items())]
            return web.Response(status=status, text="".join(lines))
        return web.Response(status=status, text="OK" if health.is_serving else "")

    return answer
