"""More calls than can be worked on."""

from __future__ import annotations

import asyncio

import grpc

from tests.wire.gate import Gate, until
from tests.wire.transports import PATH, Connect, Serve


async def test_a_lone_call_is_a_batch_of_its_own(serve: Serve, connect: Connect, gate: Gate) -> None:
    method = connect(await serve()).unary_unary(PATH)
    for _ in range(3):
        await method(b"")

    assert gate.batches == [1, 1, 1]


async def test_calls_that_arrive_while_the_handler_is_busy_go_together(
    serve: Serve, connect: Connect, gate: Gate
) -> None:
    served = await serve(batches_in_flight_max=1)
    method = connect(served).unary_unary(PATH)
    gate.shut()
    calls = [method(b"first")]
    await until(lambda: gate.messages)
    calls += [method(b"%d" % number) for number in range(20)]
    await until(lambda: served.value("weir.queue.length") == 20)
    gate.open()
    await asyncio.gather(*calls)

    assert gate.batches == [1, 20]


async def test_beyond_the_bound_a_call_is_refused_at_once(serve: Serve, connect: Connect, gate: Gate) -> None:
    served = await serve(batches_in_flight_max=1, queue_calls_max=2)
    method = connect(served).unary_unary(PATH)
    gate.shut()
    calls = [method(b"working")]
    await until(lambda: gate.messages)
    calls += [method(b"1"), method(b"2")]
    await until(lambda: served.value("weir.queue.length") == 2)
    refused = method(b"3")
    code = await refused.code()
    gate.open()
    await asyncio.gather(*calls)

    assert (code, served.value("weir.calls.rejected")) == (grpc.StatusCode.RESOURCE_EXHAUSTED, 1)
    assert b"3" not in gate.messages


async def test_a_noisy_connection_does_not_starve_a_quiet_one(serve: Serve, connect: Connect, gate: Gate) -> None:
    served = await serve(batches_in_flight_max=1, queue_calls_max=10, batch_calls_max=2)
    noisy, quiet = connect(served).unary_unary(PATH), connect(served).unary_unary(PATH)
    gate.shut()
    calls = [noisy(b"working")]
    await until(lambda: gate.messages)
    calls += [noisy(b"noisy") for _ in range(10)]
    await until(lambda: served.value("weir.queue.length") == 10)
    answer = quiet(b"quiet")
    await until(lambda: served.value("weir.calls.rejected") == 1)
    gate.open()
    codes = [await call.code() for call in calls]

    assert await answer == b"quiet"
    assert gate.messages[1:3] == [b"noisy", b"quiet"]
    assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 1


async def test_a_call_beyond_a_connections_streams_waits_with_its_client(
    serve: Serve, connect: Connect, gate: Gate
) -> None:
    served = await serve(batches_in_flight_max=2, grpc_max_concurrent_streams=2)
    method = connect(served).unary_unary(PATH)
    gate.shut()
    calls = [method(b"1")]
    await until(lambda: gate.messages == [b"1"])
    calls.append(method(b"2"))
    await until(lambda: gate.messages == [b"1", b"2"])
    calls.append(method(b"3"))
    await asyncio.sleep(0.02)
    waiting = served.value("weir.queue.length")
    gate.open()

    assert await asyncio.gather(*calls) == [b"1", b"2", b"3"]
    assert waiting == 0
