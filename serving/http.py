"""A small HTTP listener: pages by their path, any method, the reference's 404.

    client ── connects, says all of a request ──▶ page ──▶ takes all of the answer, says the next request ──▶ page …
           ╰───── HTTP_CLIENT_TIMEOUT ─────╯           ╰─────────────── HTTP_CLIENT_TIMEOUT ───────────────╯

1. So many connections at a time; one too many is closed at once.
2. A client has one time for all that is up to it, however little it says or takes at a time. Then its connection is cut
   and not closed, which would wait for ever for one that takes nothing.
3. That time does not run while a page is made: how long that takes is the page's business.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

from aiohttp import web

from serving.listeners import tcp_listeners
from serving.metrics import Registry
from serving.settings import HttpClientSettings

Page: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

_LOG = logging.getLogger(__name__)

# What a page that is being written has left when we stop; then its connection is cut.
_STOP_SECONDS = 0.5
# Where no page takes a body.
_BODY_BYTES_MAX = 1024


class HttpServer:
    """One listener: `start` opens it, `stop` closes it."""

    def __init__(
        self,
        place: tuple[str, int] | str,
        pages: Mapping[str, Page],
        settings: HttpClientSettings,
        registry: Registry,
        body_bytes_max: int = _BODY_BYTES_MAX,
    ) -> None:
        """Take where to listen: a host and a port, or the path of a Unix socket."""
        self._place = place
        self._pages = pages
        self._settings = settings
        self._registry = registry
        self._body_bytes_max = body_bytes_max
        self._runner: web.ServerRunner | None = None
        self.port = 0
        """The port listened on, once started; 0 on a Unix socket."""

    async def start(self) -> None:
        """Open the listener.

        Raises:
            OSError: the address cannot be listened on.
        """
        clients = _Clients(self._pages, self._settings, self._registry, self._body_bytes_max)
        runner = web.ServerRunner(clients, shutdown_timeout=_STOP_SECONDS)
        await runner.setup()
        self._runner = runner
        if isinstance(self._place, str):
            await web.UnixSite(runner, self._place).start()
            return
        for listener in await tcp_listeners(*self._place):
            await web.SockSite(runner, listener).start()
            self.port = listener.getsockname()[1]

    async def stop(self) -> None:
        """Close the listener and every connection."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None


class _Clients(web.Server):
    """Every connection of a listener, with the time that its client has left."""

    def __init__(
        self, pages: Mapping[str, Page], settings: HttpClientSettings, registry: Registry, body_bytes_max: int
    ) -> None:
        super().__init__(
            self._answer,
            request_factory=self._make,
            access_log=None,
            # Ours ends earlier or at the same time, or else aiohttp's own would after an hour.
            keepalive_timeout=settings.http_client_timeout,
        )
        self._pages = pages
        self._settings = settings
        self._body_bytes_max = body_bytes_max
        self._refused = registry.counter("weir.http.refused")
        self._cut_off = registry.counter("weir.http.cut")
        self._transports: dict[web.RequestHandler, asyncio.Transport] = {}
        self._timers: dict[web.RequestHandler, asyncio.TimerHandle] = {}
        """Of those whose client's turn it is."""

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Take a connection, or close it."""
        super().connection_made(handler, transport)
        if len(self._transports) >= self._settings.http_connections_max:
            self._refused.add()
            transport.abort()
            return
        self._transports[handler] = transport
        self._await(handler)

    def connection_lost(self, handler: web.RequestHandler, error: BaseException | None = None) -> None:
        """Forget a connection."""
        super().connection_lost(handler, error)
        self._transports.pop(handler, None)
        self._await_no_more(handler)

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - aiohttp's
        """Close every connection, also those whose client takes nothing."""
        await super().shutdown(timeout)
        for transport in self._transports.values():
            transport.abort()

    def _await(self, handler: web.RequestHandler) -> None:
        seconds = self._settings.http_client_timeout
        self._timers[handler] = asyncio.get_running_loop().call_later(seconds, self._cut, handler)

    def _await_no_more(self, handler: web.RequestHandler) -> None:
        if timer := self._timers.pop(handler, None):
            timer.cancel()

    def _cut(self, handler: web.RequestHandler) -> None:
        self._cut_off.add()
        _LOG.debug("a connection is cut: its client asked nothing whole, or took no answer, in time")
        self._transports[handler].abort()

    def _make(self, *parts: Any) -> web.BaseRequest:  # noqa: ANN401 - aiohttp's own, passed on
        message, payload, protocol, writer, task = parts
        loop = asyncio.get_running_loop()
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=self._body_bytes_max)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        page = self._pages.get(request.path)
        if page is None:
            return _not_found()
        await _read(request)
        with self._our_turn(request.protocol):
            return await page(request)

    @contextmanager
    def _our_turn(self, handler: web.RequestHandler) -> Iterator[None]:
        self._await_no_more(handler)
        try:
            yield
        finally:
            if handler in self._transports:
                self._await(handler)


def listing(pages: Mapping[str, str]) -> Page:
    """Return the page that lists others: path and what is there."""
    text = "".join(f"{path}: {about}\n" for path, about in sorted(pages.items()))

    async def answer(_request: web.BaseRequest) -> web.Response:
        return web.Response(text=text)

    return answer


async def _read(request: web.BaseRequest) -> None:
    """Have the whole body: a page that asks for it gets it from there."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # or an error could not be answered
    try:
        await request.read()
    except ConnectionError:
        # It has gone in the middle: nobody to answer, and nothing to say in the log.
        raise web.HTTPBadRequest from None


def _not_found() -> web.Response:
    return web.Response(status=404, text="404 page not found\n", headers={"X-Content-Type-Options": "nosniff"})
