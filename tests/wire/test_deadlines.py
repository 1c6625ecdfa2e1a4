"""Work that can no longer reach its caller is not done."""

from __future__ import annotations

import math

import grpc
import pytest

from serving.clock import SystemClock
from tests.wire.gate import Gate, until
from tests.wire.transports import PATH, Connect, Serve


async def test_a_deadline_reaches_the_handler(serve: Serve, connect: Connect, gate: Gate) -> None:
    await connect(await serve()).unary_unary(PATH)(b"", timeout=30)

    assert gate.calls[0].deadline - SystemClock().steady() == pytest.approx(30, abs=5)


async def test_no_deadline_is_an_infinite_one(serve: Serve, connect: Connect, gate: Gate) -> None:
    await connect(await serve()).unary_unary(PATH)(b"")

    assert math.isinf(gate.calls[0].deadline)


async def test_a_call_whose_deadline_passes_in_the_queue_never_reaches_the_handler(
    serve: Serve, connect: Connect, gate: Gate
) -> None:
    served = await serve(batches_in_flight_max=1)
    method = connect(served).unary_unary(PATH)
    gate.shut()
    working = method(b"working")
    await until(lambda: gate.messages)
    # Long enough to get into the queue first, also on a machine under load.
    late = method(b"late", timeout=1.0)
    code = await late.code()
    await until(lambda: served.value("weir.calls.cancelled") + served.value("weir.calls.expired"))
    gate.open()
    await working
    await method(b"after")

    assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert gate.messages == [b"working", b"after"]


async def test_a_call_whose_caller_gave_up_in_the_queue_never_reaches_the_handler(
    serve: Serve, connect: Connect, gate: Gate
) -> None:
    served = await serve(batches_in_flight_max=1)
    method = connect(served).unary_unary(PATH)
    gate.shut()
    working = method(b"working")
    await until(lambda: gate.messages)
    gone = method(b"gone")
    await until(lambda: served.value("weir.queue.length"))
    gone.cancel()
    await until(lambda: not served.value("weir.queue.length"))
    gate.open()
    await working
    await method(b"after")

    assert gate.messages == [b"working", b"after"]


async def test_a_caller_that_gives_up_under_way_hurts_no_other(serve: Serve, connect: Connect, gate: Gate) -> None:
    served = await serve(batches_in_flight_max=1)
    method = connect(served).unary_unary(PATH)
    gate.shut()
    working = method(b"working")
    await until(lambda: gate.messages)
    gone, stays = method(b"gone"), method(b"stays")
    await until(lambda: served.value("weir.queue.length") == 2)
    gate.open()
    await working
    gone.cancel()

    assert await stays == b"stays"


async def test_a_connection_that_breaks_takes_its_calls_out_of_the_queue(
    serve: Serve, connect: Connect, gate: Gate
) -> None:
    served = await serve(batches_in_flight_max=1)
    other, channel = connect(served).unary_unary(PATH), connect(served)
    gate.shut()
    working = other(b"working")
    await until(lambda: gate.messages)
    calls = [channel.unary_unary(PATH)(b"gone") for _ in range(5)]
    await until(lambda: served.value("weir.queue.length") == 5)
    await channel.close()
    await until(lambda: not served.value("weir.queue.length"))
    gate.open()
    await working

    assert gate.messages == [b"working"]
    assert all(call.cancelled() for call in calls)
