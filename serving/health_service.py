"""grpc.health.v1.Health over `Health`: Check and Watch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from serving.health import Health

SERVICE = "grpc.health.v1.Health"

_Context = grpc.aio.ServicerContext[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse]
_Response = health_pb2.HealthCheckResponse


def health_handler(health: Health, service: str, *, watches_max: int) -> grpc.GenericRpcHandler:
    """Return the health service for one service name and the empty one.

    The empty name stands for the process and stays SERVING while it runs, as the reference's does.
    """
    servicer = _Servicer(health, service, watches_max)
    reading: dict[str, Any] = {
        "request_deserializer": health_pb2.HealthCheckRequest.FromString,
        "response_serializer": _Response.SerializeToString,
    }
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "Check": grpc.unary_unary_rpc_method_handler(servicer.check, **reading),
            "Watch": grpc.unary_stream_rpc_method_handler(servicer.watch, **reading),
        },
    )


class _Servicer:
    def __init__(self, health: Health, service: str, watches_max: int) -> None:
        self._health = health
        self._service = service
        self._watches_max = watches_max
        self._watches = 0

    async def check(self, request: health_pb2.HealthCheckRequest, context: _Context) -> health_pb2.HealthCheckResponse:
        if request.service not in ("", self._service):
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return _response(self._health.is_serving or not request.service)

    async def watch(
        self, request: health_pb2.HealthCheckRequest, context: _Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        if self._watches >= self._watches_max:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many health watches")
        self._watches += 1
        try:
            async for response in self._statuses(request.service):
                yield response
            # The protocol's sign to ask another server: this one is about to stop.
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is stopping")
        finally:
            self._watches -= 1

    async def _statuses(self, service: str) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        last: health_pb2.HealthCheckResponse | None = None
        async for is_serving in self._health.changes():
            now = self._status(service, is_serving=is_serving)
            if now != last:
                last = now
                yield now

    def _status(self, service: str, *, is_serving: bool) -> health_pb2.HealthCheckResponse:
        if service not in ("", self._service):
            # The protocol's answer to a watch, where a check gets NOT_FOUND: the service may come yet.
            return _Response(status=_Response.SERVICE_UNKNOWN)
        return _response(is_serving or not service)


def _response(is_serving: bool) -> health_pb2.HealthCheckResponse:  # noqa: FBT001 - the one thing it says
    return _Response(status=_Response.SERVING if is_serving else _Response.NOT_SERVING)
