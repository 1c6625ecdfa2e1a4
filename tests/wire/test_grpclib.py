"""A client that shares no code with grpcio: HTTP/2 and gRPC in Python."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpclib.client import Channel, UnaryStreamMethod, UnaryUnaryMethod
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from protos.interop.rls.v1 import rls_pb2
from serving.calls import Call, Failure, Reply, StatusCode
from tests.fakes.certificates import issue, make_ca
from tests.wire.gate import Gate
from tests.wire.transports import HEALTH_SERVICE, PATH, Serve

REQUEST = rls_pb2.RateLimitRequest(domain="d", hits_addend=7)
REPLY = rls_pb2.RateLimitResponse(overall_code=rls_pb2.RateLimitResponse.OK)


@pytest.fixture(params=["plain", "tls"])
async def channel(request: pytest.FixtureRequest, serve: Serve, tmp_path: Path) -> AsyncIterator[Channel]:
    options: dict[str, Any] = {}
    context: ssl.SSLContext | None = None
    if request.param == "tls":
        ca = make_ca(tmp_path)
        pair = issue(ca, ["127.0.0.1"], "server")
        files = {"grpc_server_tls_cert": str(pair.certificate), "grpc_server_tls_key": str(pair.key)}
        options |= {"grpc_server_use_tls": True, **files}
        context = ssl.create_default_context(cafile=str(ca.path))
        context.set_alpn_protocols(["h2"])
    served = await serve(**options)
    channel = Channel("127.0.0.1", served.server.port, ssl=context)
    yield channel
    await _close(channel)


async def _close(channel: Channel) -> None:
    """Close, and wait until the connection has ended, without TLS's goodbye: grpcio does not answer it."""
    protocol: Any = channel._protocol
    lose, lost = protocol.connection_lost, asyncio.Event()

    def note(error: Exception | None) -> None:
        lose(error)
        lost.set()

    protocol.connection_lost = note
    protocol.connection._transport.abort()
    channel.close()
    async with asyncio.timeout(30):
        await lost.wait()


def _method(channel: Channel, path: str = PATH) -> UnaryUnaryMethod[Any, Any]:
    return UnaryUnaryMethod(channel, path, rls_pb2.RateLimitRequest, rls_pb2.RateLimitResponse)


async def test_a_call_is_answered(channel: Channel, gate: Gate) -> None:
    gate.answer = lambda _: REPLY.SerializeToString()

    assert await _method(channel)(REQUEST) == REPLY
    assert gate.messages == [REQUEST.SerializeToString()]


async def test_calls_at_a_time_are_answered_each(channel: Channel, gate: Gate) -> None:
    gate.answer = lambda _: REPLY.SerializeToString()

    assert await asyncio.gather(*(_method(channel)(REQUEST) for _ in range(100))) == [REPLY] * 100


async def test_a_message_of_many_frames_arrives_whole(channel: Channel, gate: Gate) -> None:
    gate.answer = lambda _: REPLY.SerializeToString()
    large = rls_pb2.RateLimitRequest(domain="d" * 1_000_000)

    assert await _method(channel)(large) == REPLY
    assert gate.messages == [large.SerializeToString()]


async def test_a_failure_has_its_status_and_detail(channel: Channel, gate: Gate) -> None:
    def answer(_call: Call) -> Reply:
        return Failure(StatusCode.RESOURCE_EXHAUSTED, "überall")

    gate.answer = answer
    with pytest.raises(GRPCError) as raised:
        await _method(channel)(REQUEST)

    assert (raised.value.status, raised.value.message) == (Status.RESOURCE_EXHAUSTED, "überall")


async def test_an_unknown_method_is_unimplemented(channel: Channel) -> None:
    with pytest.raises(GRPCError) as raised:
        await _method(channel, "/other.Service/Method")(REQUEST)

    assert raised.value.status == Status.UNIMPLEMENTED


async def test_a_stream_passes(channel: Channel) -> None:
    watch: UnaryStreamMethod[Any, Any] = UnaryStreamMethod(
        channel, "/grpc.health.v1.Health/Watch", health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
    )
    async with watch.open() as stream:
        await stream.send_message(health_pb2.HealthCheckRequest(service=HEALTH_SERVICE), end=True)
        first: Message | None = await stream.recv_message()
        await stream.cancel()

    assert first == health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
