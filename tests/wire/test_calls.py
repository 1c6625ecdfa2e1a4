"""What a caller sees of one unary call."""

from __future__ import annotations

import random
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

from serving.calls import Call, Failure, Reply, StatusCode
from tests.wire.gate import Gate
from tests.wire.transports import HEALTH_SERVICE, PATH, Connect, Serve

MIB = 1024 * 1024


async def test_a_message_reaches_the_handler_and_its_reply_the_caller(
    serve: Serve, connect: Connect, gate: Gate
) -> None:
    gate.answer = lambda call: call.message[::-1]
    reply = await connect(await serve()).unary_unary(PATH)(b"\x00abc\xff")

    assert (gate.messages, reply) == ([b"\x00abc\xff"], b"\xffcba\x00")


async def test_an_empty_message_is_a_message(serve: Serve, connect: Connect, gate: Gate) -> None:
    reply = await connect(await serve()).unary_unary(PATH)(b"")

    assert (gate.messages, reply) == ([b""], b"")


async def test_a_good_call_ends_with_ok_in_its_trailers(serve: Serve, connect: Connect) -> None:
    call = connect(await serve()).unary_unary(PATH)(b"")
    await call

    assert (await call.code(), await call.details()) == (grpc.StatusCode.OK, "")


@pytest.mark.parametrize("status", list(StatusCode), ids=lambda status: status.name)
async def test_a_failure_is_a_status_with_its_detail(
    status: StatusCode, serve: Serve, connect: Connect, gate: Gate
) -> None:
    gate.answer = lambda _call: Failure(status, "why: 100 % überall\n")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await connect(await serve()).unary_unary(PATH)(b"")

    assert (raised.value.code().value[0], raised.value.details()) == (status.value, "why: 100 % überall\n")


async def test_a_failure_hurts_no_other_call(serve: Serve, connect: Connect, gate: Gate) -> None:
    def answer(call: Call) -> Reply:
        return Failure(StatusCode.INVALID_ARGUMENT, "bad") if call.message == b"bad" else call.message

    gate.answer = answer
    method = connect(await serve()).unary_unary(PATH)
    bad, good = method(b"bad"), method(b"good")

    assert await good == b"good"
    assert await bad.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_handler_that_raises_is_internal_and_says_nothing_of_why(
    serve: Serve, connect: Connect, gate: Gate
) -> None:
    def answer(_call: Call) -> Reply:
        raise ValueError("password")

    gate.answer = answer
    method = connect(await serve()).unary_unary(PATH)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await method(b"")

    assert (raised.value.code(), raised.value.details()) == (grpc.StatusCode.INTERNAL, "internal error")


@pytest.mark.parametrize("path", ["/envoy.service.ratelimit.v3.RateLimitService/Other", "/other.Service/Method", "/x"])
async def test_an_unknown_method_is_unimplemented(path: str, serve: Serve, connect: Connect) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await connect(await serve()).unary_unary(path)(b"")

    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_a_message_of_the_largest_size_is_taken(serve: Serve, connect: Connect) -> None:
    message = b"x" * (4 * MIB)

    assert await connect(await serve()).unary_unary(PATH)(message) == message


async def test_a_larger_one_is_refused_and_the_connection_goes_on(serve: Serve, connect: Connect, gate: Gate) -> None:
    method = connect(await serve()).unary_unary(PATH)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await method(b"x" * (4 * MIB + 1))

    assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await method(b"small") == b"small"
    assert gate.messages == [b"small"]


async def test_the_largest_size_is_a_setting(serve: Serve, connect: Connect) -> None:
    message = b"x" * (5 * MIB)
    served = await serve(grpc_message_bytes_max=6 * MIB)

    assert await connect(served).unary_unary(PATH)(message) == message


@pytest.mark.parametrize("size", [10_000, 4 * MIB], ids=["short", "long"])
async def test_compressed_messages_are_understood(size: int, serve: Serve, connect: Connect, gate: Gate) -> None:
    message = b"x" * size
    method = connect(await serve()).unary_unary(PATH)
    await method(message, compression=grpc.Compression.Gzip)

    assert gate.messages == [message]


async def test_compressed_messages_that_hardly_shrink_are_understood(
    serve: Serve, connect: Connect, gate: Gate
) -> None:
    message = random.Random(4).randbytes(MIB).hex().encode()
    method = connect(await serve()).unary_unary(PATH)
    await method(message, compression=grpc.Compression.Gzip)

    assert gate.messages == [message]


async def test_a_compressed_message_to_another_service_is_understood(serve: Serve, connect: Connect) -> None:
    """Long enough that the sieve hands it on packed."""
    served = await serve(grpc_message_bytes_max=10_000)
    request = health_pb2.HealthCheckRequest(service=HEALTH_SERVICE).SerializeToString()
    # An unknown field, as a later version may have.
    request += b"\x7a\x64" + b"x" * 100
    method = connect(served).unary_unary("/grpc.health.v1.Health/Check")

    assert await method(request, compression=grpc.Compression.Gzip) == b"\x08\x01"


async def test_a_small_message_that_is_large_unpacked_is_refused(serve: Serve, connect: Connect, gate: Gate) -> None:
    method = connect(await serve()).unary_unary(PATH)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await method(b"x" * (16 * MIB), compression=grpc.Compression.Gzip)

    assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await method(b"small") == b"small"
    assert gate.messages == [b"small"]


async def test_a_connection_is_a_peer(serve: Serve, connect: Connect, gate: Gate) -> None:
    served = await serve()
    first, second = connect(served).unary_unary(PATH), connect(served).unary_unary(PATH)
    for method in (first, first, second):
        await method(b"")

    peers = [call.caller.peer for call in gate.calls]
    assert peers[0] == peers[1] != peers[2]


async def test_a_bearer_token_reaches_the_handler(serve: Serve, connect: Connect, gate: Gate) -> None:
    method = connect(await serve()).unary_unary(PATH)
    await method(b"", metadata=[("x-other", "1"), ("authorization", "Bearer secret")])
    await method(b"")

    assert [call.caller.token for call in gate.calls] == ["secret", ""]


async def test_a_unix_socket_serves_as_a_port_does(serve: Serve, connect: Connect, gate: Gate, tmp_path: Path) -> None:
    served = await serve(grpc_uds=str(tmp_path / "s"))

    assert await connect(served).unary_unary(PATH)(b"1") == b"1"
    assert served.server.port == 0
    assert gate.calls[0].caller.peer.startswith("unix:")


async def test_several_servers_may_share_a_port(serve: Serve, connect: Connect) -> None:
    first = await serve()
    second = await serve(grpc_port=first.server.port)

    assert first.server.port == second.server.port
    assert await connect(second).unary_unary(PATH)(b"1") == b"1"


async def test_an_address_that_is_not_ours_cannot_be_listened_on(serve: Serve) -> None:
    with pytest.raises(OSError, match=r"192\.0\.2\.1"):
        await serve(grpc_host="192.0.2.1")
