"""The HTTP listener and the pages that are not about limits."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import aiohttp
import pytest
import uvloop
from aiohttp import web

from serving.clock import SystemClock
from serving.health import Health
from serving.health_page import health_page
from serving.http import HttpServer, Page, listing
from serving.metrics import Registry
from serving.profile import profile_page
from serving.settings import HttpClientSettings

Get = Callable[..., Awaitable[tuple[int, str]]]


async def _echo(request: web.BaseRequest) -> web.Response:
    return web.Response(text=f"{request.method} {len(await request.read())}")


async def _raise(_request: web.BaseRequest) -> web.Response:
    raise ZeroDivisionError


def _server(pages: Mapping[str, Page], host: str = "127.0.0.1") -> HttpServer:
    return HttpServer((host, 0), pages, HttpClientSettings(), Registry(), body_bytes_max=10)


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
async def server(health: Health) -> AsyncIterator[HttpServer]:
    pages: dict[str, Page] = {
        "/": listing({"/stats": "numbers", "/debug/profile": "where the time goes"}),
        "/echo": _echo,
        "/broken": _raise,
        "/healthcheck": health_page(health),
        "/debug/profile": profile_page(SystemClock()),
    }
    server = _server(pages)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def fetch(server: HttpServer) -> AsyncIterator[Get]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:

        async def get(path: str, method: str = "GET", body: bytes = b"") -> tuple[int, str]:
            async with session.request(method, path, data=body) as response:
                return response.status, await response.text()

        yield get


@pytest.mark.parametrize("loop", [asyncio, uvloop], ids=["asyncio", "uvloop"])
def test_all_addresses_of_ipv6_are_those_of_ipv4_too(loop: Any) -> None:
    async def ask() -> str:
        host = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"
        server = _server({"/echo": _echo}, host)
        await server.start()
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{server.port}/echo") as answer,
            ):
                return await answer.text()
        finally:
            await server.stop()

    assert loop.run(ask()) == "GET 0"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
async def test_a_page_answers_any_method(method: str, fetch: Get) -> None:
    assert await fetch("/echo", method, b"1234567890") == (200, f"{method} 10")


async def test_a_body_above_the_bound_is_refused(fetch: Get) -> None:
    status, _ = await fetch("/echo", "POST", b"12345678901")

    assert status == 413


@pytest.mark.parametrize("path", ["/other", "/echo/", "/echo/more"])
async def test_an_unknown_page_is_the_references_404(path: str, fetch: Get) -> None:
    assert await fetch(path) == (404, "404 page not found\n")


async def test_a_page_that_raises_is_500_and_the_next_one_is_answered(fetch: Get) -> None:
    status, _ = await fetch("/broken")

    assert status == 500
    assert await fetch("/echo") == (200, "GET 0")


async def test_the_root_lists_pages(fetch: Get) -> None:
    assert await fetch("/") == (200, "/debug/profile: where the time goes\n/stats: numbers\n")


async def test_health_is_ok(fetch: Get) -> None:
    assert await fetch("/healthcheck") == (200, "OK")


async def test_bad_health_is_500_without_a_body(fetch: Get, health: Health) -> None:
    health.down("redis")

    assert await fetch("/healthcheck") == (500, "")


async def test_health_tells_its_components_when_asked(fetch: Get, health: Health) -> None:
    health.up("config")
    health.down("redis")

    assert await fetch("/healthcheck?details") == (500, "config: up\nredis: down\n")


async def test_a_profile_is_lines_of_stacks(fetch: Get) -> None:
    status, text = await fetch("/debug/profile?seconds=0.03")

    assert status == 200
    assert "\nMainThread;" in "\n" + text


@pytest.mark.parametrize("seconds", ["0", "-1", "61", "nan", "soon"])
async def test_a_profile_is_bounded(seconds: str, fetch: Get) -> None:
    status, _ = await fetch(f"/debug/profile?seconds={seconds}")

    assert status == 400


async def test_one_profile_at_a_time(fetch: Get) -> None:
    both = await asyncio.gather(fetch("/debug/profile?seconds=0.05"), fetch("/debug/profile?seconds=0.05"))

    assert sorted(status for status, _ in both) == [200, 429]


async def test_stopping_ends_a_profile() -> None:
    begun, profile = asyncio.Event(), profile_page(SystemClock())

    async def page(request: web.BaseRequest) -> web.StreamResponse:
        begun.set()
        return await profile(request)

    server = _server({"/": page})
    await server.start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
        fetching = asyncio.ensure_future(session.get("/?seconds=60"))
        await begun.wait()
        await server.stop()
        with pytest.raises(aiohttp.ClientError):
            await fetching


async def test_a_server_that_never_started_stops() -> None:
    server = _server({})
    await server.stop()

    assert server.port == 0


async def test_an_address_that_is_not_ours_cannot_be_listened_on() -> None:
    server = _server({}, "192.0.2.1")
    with pytest.raises(OSError, match=r"192\.0\.2\.1"):
        await server.start()
    await server.stop()
