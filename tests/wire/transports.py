"""The transports under test, and a server over any of them.

A further transport is one more line in `TRANSPORTS`: a class with the constructor, `start`,
`stop` and `port` of `GrpcServer`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc

from protos.interop.rls.v1 import rls_pb2
from serving.calls import Handler, Method
from serving.clock import SystemClock
from serving.front import FrontServer
from serving.grpc_server import GrpcServer
from serving.health import Health
from serving.health_service import health_handler
from serving.metrics import Registry
from serving.reflection import reflection_handler
from serving.settings import GrpcSettings
from serving.transport import Transport

TRANSPORTS: dict[str, type[GrpcServer | FrontServer]] = {"grpcio": GrpcServer, "front": FrontServer}

SERVICE = "envoy.service.ratelimit.v3.RateLimitService"
PATH = f"/{SERVICE}/ShouldRateLimit"
HEALTH_SERVICE = "ratelimit"

RLS = rls_pb2.DESCRIPTOR.services_by_name["RateLimitService"]


@dataclass
class Served:
    """A server, and how to reach it."""

    server: Transport
    settings: GrpcSettings
    health: Health
    registry: Registry

    @property
    def target(self) -> str:
        return f"unix:{self.settings.grpc_uds}" if self.settings.grpc_uds else f"127.0.0.1:{self.server.port}"

    def value(self, name: str) -> float:
        return sum(sample.value for sample in self.registry.samples() if sample.name == name)


Serve = Callable[..., Awaitable[Served]]
Connect = Callable[..., grpc.aio.Channel]


def build(transport: type[GrpcServer | FrontServer], handler: Handler, grace_seconds: float, **options: Any) -> Served:
    """Put a server together with all that it serves beside the handler; it is not started."""
    settings = GrpcSettings(**{"grpc_host": "127.0.0.1", "grpc_port": 0, **options})
    health, registry = Health(), Registry()
    handlers = [
        health_handler(health, HEALTH_SERVICE, watches_max=settings.grpc_health_watches_max),
        reflection_handler({SERVICE: RLS}),
    ]
    methods = [Method(PATH, handler)]
    server = transport(settings, methods, SystemClock(), registry, handlers=handlers, grace_seconds=grace_seconds)
    return Served(server, settings, health, registry)
