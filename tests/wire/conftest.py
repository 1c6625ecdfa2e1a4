"""One suite over the transports: what a test calls is the same, whatever speaks gRPC.

A further transport is one more line in `TRANSPORTS`: a class with the constructor, `start`,
`stop` and `port` of `GrpcServer`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from protos.interop.rls.v1 import rls_pb2
from serving.calls import Handler, Method
from serving.clock import SystemClock
from serving.grpc_server import GrpcServer
from serving.health import Health
from serving.health_service import health_handler
from serving.metrics import Registry
from serving.reflection import reflection_handler
from serving.settings import GrpcSettings
from tests.wire.gate import Gate

TRANSPORTS = {"grpcio": GrpcServer}

SERVICE = "envoy.service.ratelimit.v3.RateLimitService"
PATH = f"/{SERVICE}/ShouldRateLimit"
HEALTH_SERVICE = "ratelimit"

RLS = rls_pb2.DESCRIPTOR.services_by_name["RateLimitService"]


@dataclass
class Served:
    """A running server, and how to reach it."""

    server: GrpcServer
    health: Health
    registry: Registry
    target: str

    def value(self, name: str) -> float:
        return sum(sample.value for sample in self.registry.samples() if sample.name == name)


Serve = Callable[..., Awaitable[Served]]
Connect = Callable[..., grpc.aio.Channel]


@pytest.fixture(params=list(TRANSPORTS))
def transport(request: pytest.FixtureRequest) -> type[GrpcServer]:
    return TRANSPORTS[request.param]


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def serve(transport: type[GrpcServer], gate: Gate) -> AsyncIterator[Serve]:
    """Start a server with these settings; it stops when the test ends."""
    running: list[Served] = []

    async def start(handler: Handler = gate, *, grace_seconds: float = 0.0, **options: Any) -> Served:
        settings = GrpcSettings(**{"grpc_host": "127.0.0.1", "grpc_port": 0, **options})
        health, registry = Health(), Registry()
        server = transport(
            settings,
            [Method(PATH, handler)],
            SystemClock(),
            registry,
            handlers=[
                health_handler(health, HEALTH_SERVICE, watches_max=settings.grpc_health_watches_max),
                reflection_handler({SERVICE: RLS}),
            ],
            grace_seconds=grace_seconds,
        )
        await server.start()
        target = f"unix:{settings.grpc_uds}" if settings.grpc_uds else f"127.0.0.1:{server.port}"
        served = Served(server, health, registry, target)
        running.append(served)
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
