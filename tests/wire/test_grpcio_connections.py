"""Connections of the grpcio server that are too many, or that say nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from serving.clock import SystemClock
from serving.grpc_server import GrpcServer
from serving.metrics import Registry
from serving.settings import GrpcSettings
from tests.wire import http2


@asynccontextmanager
async def listening(**settings: float) -> AsyncIterator[GrpcServer]:
    server = GrpcServer(
        GrpcSettings(grpc_host="127.0.0.1", grpc_port=0, **settings),  # type: ignore[arg-type] # names of its fields
        [],
        SystemClock(),
        Registry(),
    )
    await server.start()
    yield server
    await server.stop()


async def _is_served(server: GrpcServer) -> asyncio.StreamWriter | None:
    """Return a connection that the server speaks HTTP/2 on; None: it was closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    with suppress(OSError):
        writer.write(http2.hello())
        async with asyncio.timeout(30):
            if await reader.read(1):
                return writer
    writer.close()
    return None


async def test_a_connection_too_many_is_closed_until_another_has_ended() -> None:
    async with listening(grpc_connections_max=1) as server:
        first = await _is_served(server)
        second = await _is_served(server)
        assert first is not None
        first.transport.abort()
        async with asyncio.timeout(30):
            while (third := await _is_served(server)) is None:
                pass
        third.close()

        assert second is None


async def test_a_connection_that_says_nothing_ends() -> None:
    async with listening(grpc_tls_handshake_timeout=0.1) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        async with asyncio.timeout(30):
            with suppress(ConnectionResetError):
                await reader.read()
        writer.close()

        assert reader.at_eof() or reader.exception() is not None


async def test_any_number_of_connections_may_be_allowed() -> None:
    async with listening(grpc_connections_max=2**40) as server:
        served = await _is_served(server)
        assert served is not None
        served.close()
