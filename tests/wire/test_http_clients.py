"""What the HTTP listener does about clients that are too many, or that say or take nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web

from serving.http import HttpServer, Page
from serving.metrics import Registry
from serving.settings import HttpClientSettings
from tests.wire.gate import until

ASK = b"POST / HTTP/1.1\r\nHost: weir\r\n"
BODY = b"Content-Length: 4\r\n\r\nbody"
# Longer than any test.
PATIENT = 600.0
# For clients that say what they have to at once: time enough for that on a busy machine.
SHORT = 1.0
# More than the sockets between two processes hold.
LARGE = bytes(32 * 1024 * 1024)

Pipe = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _echo(request: web.BaseRequest) -> web.Response:
    return web.Response(body=await request.read())


async def _large(_request: web.BaseRequest) -> web.Response:
    return web.Response(body=LARGE)


class Listener:
    """A server with one page, and what it counted."""

    def __init__(self, page: Page, settings: HttpClientSettings) -> None:
        self._registry = Registry()
        self.server = HttpServer(("127.0.0.1", 0), {"/": page}, settings, self._registry)

    @property
    def refused(self) -> int:
        return self._registry.counter("weir.http.refused").value

    @property
    def cut(self) -> int:
        return self._registry.counter("weir.http.cut").value

    async def connect(self) -> Pipe:
        return await asyncio.open_connection("127.0.0.1", self.server.port)


@asynccontextmanager
async def listening(
    page: Page = _echo, *, connections_max: int = 10, client_seconds: float = PATIENT
) -> AsyncIterator[Listener]:
    settings = HttpClientSettings(http_connections_max=connections_max, http_client_timeout=client_seconds)
    listener = Listener(page, settings)
    await listener.server.start()
    yield listener
    await listener.server.stop()


async def _answered(pipe: Pipe, request: bytes = ASK + BODY) -> bytes:
    """Ask, and return the answer, which ends in `body`."""
    reader, writer = pipe
    writer.write(request)
    async with asyncio.timeout(30):
        return await reader.readuntil(b"\r\n\r\nbody")


async def _rest(pipe: Pipe) -> bytes:
    """Return what comes until the connection ends."""
    data = b""
    async with asyncio.timeout(30):
        with suppress(ConnectionResetError):
            while piece := await pipe[0].read(65_536):
                data += piece
    pipe[1].close()
    return data


async def test_a_connection_too_many_is_closed_at_once() -> None:
    async with listening(connections_max=2) as listener:
        first, second = await listener.connect(), await listener.connect()
        answers = await _answered(first), await _answered(second)
        refused = await _rest(await listener.connect())
        again = await _answered(first)

        assert all(answer.startswith(b"HTTP/1.1 200 OK\r\n") for answer in (*answers, again))
        assert (refused, listener.refused, listener.cut) == (b"", 1, 0)
        first[1].close()
        second[1].close()


async def test_the_place_of_a_client_that_has_gone_is_given_to_another() -> None:
    async with listening(connections_max=1) as listener:
        await _answered(gone := await listener.connect())
        gone[1].close()

        async def is_served() -> bool:
            pipe = await listener.connect()
            try:
                return b"200 OK" in await _answered(pipe)
            except (asyncio.IncompleteReadError, ConnectionError):
                return False  # the server has not yet heard that the first one went
            finally:
                pipe[1].close()

        async with asyncio.timeout(30):
            while not await is_served():
                pass


@pytest.mark.parametrize(
    "said",
    [b"", b"POST", ASK, ASK + b"Content-Length: 4\r\n\r\nbo", ASK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n"],
    ids=["nothing", "half a line", "half a head", "half a body", "no last chunk"],
)
async def test_a_client_that_does_not_say_all_of_its_request_is_cut(said: bytes) -> None:
    async with listening(client_seconds=0.05) as listener:
        pipe = await listener.connect()
        pipe[1].write(said)
        heard = await _rest(pipe)

        assert (heard, listener.cut) == (b"", 1)


async def test_a_client_that_asks_no_more_is_cut() -> None:
    async with listening(client_seconds=SHORT) as listener:
        pipe = await listener.connect()
        pipe[1].write(ASK + BODY)
        heard = await _rest(pipe)

        assert heard.endswith(b"\r\n\r\nbody")
        assert listener.cut == 1


async def test_a_client_that_says_a_little_at_a_time_is_cut_all_the_same() -> None:
    async with listening(client_seconds=0.05) as listener:
        pipe = await listener.connect()
        pipe[1].write(ASK)
        await until(lambda: listener.cut or pipe[1].write(b"x"))
        heard = await _rest(pipe)

        assert (heard, listener.cut) == (b"", 1)


async def test_a_client_that_takes_no_answer_is_cut() -> None:
    async with listening(_large, client_seconds=0.05) as listener:
        pipe = await listener.connect()
        pipe[1].transport.pause_reading()
        pipe[1].write(ASK + BODY)
        await until(lambda: listener.cut)
        pipe[1].transport.resume_reading()
        heard = await _rest(pipe)

        assert len(heard) < len(LARGE)


async def test_a_page_has_longer_than_its_client() -> None:
    begun, made = asyncio.Event(), asyncio.Event()

    async def slow(_request: web.BaseRequest) -> web.Response:
        begun.set()
        await made.wait()
        return web.Response(body=b"body")

    async with listening(slow, client_seconds=SHORT) as listener:
        pipe = await listener.connect()
        waiting = asyncio.ensure_future(_answered(pipe))
        await begun.wait()
        # One that came later has had its time.
        await _rest(await listener.connect())
        made.set()
        answer = await waiting
        pipe[1].close()

        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_client_that_goes_while_its_page_is_made_leaves_its_place() -> None:
    begun, gone = asyncio.Event(), asyncio.Event()

    async def slow(request: web.BaseRequest) -> web.Response:
        if gone.is_set():
            return web.Response(body=b"body")
        begun.set()
        await until(lambda: request.transport is None)
        gone.set()
        return web.Response()

    async with listening(slow, connections_max=1) as listener:
        _, writer = await listener.connect()
        writer.write(ASK + BODY)
        await begun.wait()
        writer.transport.abort()
        await gone.wait()
        pipe = await listener.connect()
        answer = await _answered(pipe)
        pipe[1].close()

        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_client_that_goes_in_the_middle_of_its_body_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async with listening() as listener:
        pipe = await listener.connect()
        pipe[1].write(ASK + b"Content-Length: 4\r\n\r\nbo")
        pipe[1].write_eof()
        heard = await _rest(pipe)

        assert (heard, caplog.records) == (b"", [])


async def test_a_client_that_waits_to_send_its_body_is_told_to() -> None:
    async with listening() as listener:
        pipe = reader, writer = await listener.connect()
        writer.write(ASK + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        async with asyncio.timeout(30):
            told = await reader.readuntil(b"\r\n\r\n")
        answer = await _answered(pipe, b"body")
        writer.close()

        assert told == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_stopping_waits_for_no_client() -> None:
    async with listening(_large) as listener:
        reader, writer = await listener.connect()
        writer.transport.pause_reading()
        writer.write(ASK + BODY)
        await listener.server.stop()
        writer.transport.resume_reading()
        heard = await _rest((reader, writer))

        assert len(heard) < len(LARGE)
