"""grpc.health.v1, as Envoy and gRPC clients ask it."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from tests.wire.transports import HEALTH_SERVICE, Connect, Serve

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


def _check(channel: grpc.aio.Channel, service: str) -> Any:
    method = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        health_pb2.HealthCheckRequest.SerializeToString,
        health_pb2.HealthCheckResponse.FromString,
    )
    return method(health_pb2.HealthCheckRequest(service=service))


def _watch(channel: grpc.aio.Channel, service: str) -> Any:
    method = channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        health_pb2.HealthCheckRequest.SerializeToString,
        health_pb2.HealthCheckResponse.FromString,
    )
    return method(health_pb2.HealthCheckRequest(service=service))


async def test_a_check_follows_the_components(serve: Serve, connect: Connect) -> None:
    served = await serve()
    channel = connect(served)
    statuses = [(await _check(channel, HEALTH_SERVICE)).status]
    served.health.down("redis")
    statuses.append((await _check(channel, HEALTH_SERVICE)).status)
    served.health.up("redis")
    statuses.append((await _check(channel, HEALTH_SERVICE)).status)

    assert statuses == [SERVING, NOT_SERVING, SERVING]


async def test_the_empty_service_stays_serving(serve: Serve, connect: Connect) -> None:
    served = await serve()
    served.health.down("redis")

    assert (await _check(connect(served), "")).status == SERVING


async def test_a_check_of_an_unknown_service_is_not_found(serve: Serve, connect: Connect) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await _check(connect(await serve()), "other")

    assert (raised.value.code(), raised.value.details()) == (grpc.StatusCode.NOT_FOUND, "unknown service")


async def test_a_watch_tells_the_present_and_every_change(serve: Serve, connect: Connect) -> None:
    served = await serve()
    watch = _watch(connect(served), HEALTH_SERVICE)
    statuses = [(await watch.read()).status]
    served.health.down("redis")
    statuses.append((await watch.read()).status)
    served.health.up("redis")
    statuses.append((await watch.read()).status)

    assert statuses == [SERVING, NOT_SERVING, SERVING]


@pytest.mark.parametrize(("service", "status"), [("", SERVING), ("other", SERVICE_UNKNOWN)], ids=["empty", "unknown"])
async def test_a_watch_of_what_never_changes_says_so_once(
    service: str, status: int, serve: Serve, connect: Connect
) -> None:
    served = await serve()
    watch = _watch(connect(served), service)
    first = await watch.read()
    served.health.down("redis")
    await _check(connect(served), "")
    served.health.close()
    with pytest.raises(grpc.aio.AioRpcError) as second:
        await watch.read()

    assert (first.status, second.value.code()) == (status, grpc.StatusCode.UNAVAILABLE)


async def test_a_watch_ends_with_unavailable_when_the_server_stops(serve: Serve, connect: Connect) -> None:
    served = await serve(grace_seconds=30.0)
    watch = _watch(connect(served), HEALTH_SERVICE)
    await watch.read()
    served.health.close()
    await served.server.stop()

    assert (await watch.code(), await watch.details()) == (grpc.StatusCode.UNAVAILABLE, "the server is stopping")


async def test_watches_are_bounded_and_one_that_ends_makes_room(serve: Serve, connect: Connect) -> None:
    channel = connect(await serve(grpc_health_watches_max=1))
    first = _watch(channel, HEALTH_SERVICE)
    await first.read()
    refused = await _watch(channel, HEALTH_SERVICE).code()
    first.cancel()
    admitted: list[int] = []

    async def try_again() -> None:
        watch = _watch(channel, HEALTH_SERVICE)
        response = await watch.read()
        if response is not grpc.aio.EOF:
            admitted.append(response.status)

    while not admitted:
        await try_again()

    assert refused == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert admitted == [SERVING]
