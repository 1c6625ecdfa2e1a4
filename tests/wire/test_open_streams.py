"""How many streams may be open before the front, and what ends them."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import grpc
import pytest

from serving.calls import Failure, StatusCode
from tests.wire import http2
from tests.wire.gate import Gate, until
from tests.wire.transports import PATH, Connect, Serve, Served

# A client that opens no window: what it is told beyond headers stays where it is.
NO_WINDOW = http2.PREFACE + http2.frame(http2.SETTINGS, payload=b"\0\4\0\0\0\0")


@pytest.fixture
def transport_name() -> str:
    return "front"


async def _open(served: Served) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", served.server.port)


async def test_where_too_many_streams_are_open_the_connection_with_most_is_ended(
    serve: Serve, connect: Connect
) -> None:
    served = await serve(grpc_streams_max=10)
    method = connect(served).unary_unary(PATH)
    few_reader, few = await _open(served)
    few.write(NO_WINDOW + http2.call(1, b"x") + http2.call(3, b"x"))
    await until(lambda: served.value("weir.relay.streams") == 2)
    reader, most = await _open(served)
    most.write(NO_WINDOW + b"".join(http2.call(stream, b"x") for stream in range(1, 20, 2)))
    with suppress(ConnectionResetError):
        await http2.until_end(reader)
    answer = await method(b"other")
    few.write(http2.call(5))
    few.write(http2.frame(http2.SETTINGS, payload=b"\0\4\0\0\xff\xff"))
    answered = http2.answered(await http2.until_answered(few_reader, 3))
    few.close()
    most.close()

    assert (answer, sorted(answered)) == (b"other", [1, 3, 5])
    assert served.value("weir.relay.cut") == 1


async def test_every_end_of_a_call_is_counted(serve: Serve, connect: Connect, gate: Gate) -> None:
    served = await serve(grpc_max_concurrent_streams=4)
    method = connect(served).unary_unary(PATH)
    gate.answer = lambda call: Failure(StatusCode.NOT_FOUND, "no") if call.message == b"bad" else call.message
    await method(b"good")
    with pytest.raises(grpc.aio.AioRpcError):
        await method(b"bad")
    with pytest.raises(grpc.aio.AioRpcError):
        await connect(served).unary_unary("/other.Service/Method")(b"")
    gate.shut()
    with pytest.raises(grpc.aio.AioRpcError):
        await method(b"late", timeout=0.05)
    cancelled = method(b"cancelled")
    await until(lambda: served.value("weir.relay.streams") >= 1)
    cancelled.cancel()
    # More at a time than the front takes: it resets what is too many.
    reader, writer = await _open(served)
    writer.write(http2.hello() + b"".join(http2.call(stream, b"x") for stream in range(1, 20, 2)))
    await http2.until_seen(reader, http2.RST_STREAM)
    gate.open()
    await until(lambda: not served.value("weir.relay.streams"))
    writer.close()

    assert served.value("weir.relay.cut") == 0
