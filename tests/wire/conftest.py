"""One suite over the transports: what a test calls is the same, whatever speaks gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import grpc
import pytest
import uvloop

from serving.calls import Handler
from serving.front import FrontServer
from serving.grpc_server import GrpcServer
from tests.wire.gate import Gate
from tests.wire.transports import TRANSPORTS, Connect, Serve, Served, build

# uvloop starts a process by a fork that runs Python in the child; beside gRPC's threads that child may never get further.
STARTS_PROCESSES = {"test_drain", "test_semcache", "test_semcache_rights"}


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run on the loop of the services, which orders its callbacks otherwise than asyncio's own."""
    if item.path.stem in STARTS_PROCESSES:
        return {"asyncio": asyncio.new_event_loop}
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(params=list(TRANSPORTS))
def transport_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def transport(transport_name: str) -> type[GrpcServer | FrontServer]:
    return TRANSPORTS[transport_name]


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def serve(transport: type[GrpcServer | FrontServer], gate: Gate) -> AsyncIterator[Serve]:
    """Start a server with these settings; it stops when the test ends."""
    running: list[Served] = []

    async def start(handler: Handler = gate, *, grace_seconds: float = 0.0, **options: Any) -> Served:
        served = build(transport, handler, grace_seconds, **options)
        running.append(served)
        await served.server.start()
        return served

    yield start
    gate.open()
    for served in running:
        served.health.close()
        await served.server.stop()


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Open a channel with a connection of its own; it closes when the test ends."""
    channels: list[grpc.aio.Channel] = []

    def open_channel(
        served: Served, credentials: grpc.ChannelCredentials | None = None, **options: Any
    ) -> grpc.aio.Channel:
        arguments = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1), *options.items()]
        if credentials is None:
            channel = grpc.aio.insecure_channel(served.target, options=arguments)
        else:
            channel = grpc.aio.secure_channel(served.target, credentials, options=arguments)
        channels.append(channel)
        return channel

    yield open_channel
    for channel in channels:
        await channel.close()
