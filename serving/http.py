"""A small HTTP listener: pages by their path, any method, the reference's 404."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from aiohttp import web

from serving.listeners import tcp_listeners

Page: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

# What a page that is being written has left when we stop; then its connection is cut.
_STOP_SECONDS = 0.5


class HttpServer:
    """One listener: `start` opens it, `stop` closes it."""

    def __init__(self, host: str, port: int, pages: Mapping[str, Page], body_bytes_max: int, *, path: str = "") -> None:
        """Take where to listen: a host and a port, or the path of a Unix socket."""
        self._host = host
        self._path = path
        self._wanted_port = port
        self._pages = pages
        self._body_bytes_max = body_bytes_max
        self._runner: web.AppRunner | None = None
        self.port = 0
        """The port listened on, once started; 0 on a Unix socket."""

    async def start(self) -> None:
        """Open the listener.

        Raises:
            OSError: the address cannot be listened on.
        """
        app = web.Application(client_max_size=self._body_bytes_max)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_STOP_SECONDS)
        await runner.setup()
        self._runner = runner
        if self._path:
            await web.UnixSite(runner, self._path).start()
            return
        for listener in await tcp_listeners(self._host, self._wanted_port):
            await web.SockSite(runner, listener).start()
            self.port = listener.getsockname()[1]

    async def stop(self) -> None:
        """Close the listener and every connection."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        page = self._pages.get(request.path)
        return await page(request) if page else _not_found()


def listing(pages: Mapping[str, str]) -> Page:
    """Return the page that lists others: path and what is there."""
    text = "".join(f"{path}: {about}\n" for path, about in sorted(pages.items()))

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=text)

    return answer


def _not_found() -> web.Response:
    return web.Response(status=404, text="404 page not found\n", headers={"X-Content-Type-Options": "nosniff"})
