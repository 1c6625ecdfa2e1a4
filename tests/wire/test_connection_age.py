"""Connections are told to go when they are old, and lose no call by it."""

from __future__ import annotations

import grpc

from tests.wire.gate import Gate, until
from tests.wire.transports import PATH, Connect, Serve


async def test_an_old_connection_makes_way_for_a_new_one(serve: Serve, connect: Connect, gate: Gate) -> None:
    method = connect(await serve(grpc_max_connection_age=0.1)).unary_unary(PATH)

    async def ask_until_a_second_connection() -> None:
        while len({call.caller.peer for call in gate.calls}) < 2:
            await method(b"")

    await ask_until_a_second_connection()

    assert {call.caller.peer for call in gate.calls} == {gate.calls[0].caller.peer, gate.calls[-1].caller.peer}


async def test_calls_in_flight_finish_on_a_connection_that_is_told_to_go(
    serve: Serve, connect: Connect, gate: Gate
) -> None:
    channel = connect(await serve(grpc_max_connection_age=0.1, grpc_keepalive_time=0.05, batches_in_flight_max=1))
    gate.shut()
    call = channel.unary_unary(PATH)(b"in flight")
    await until(lambda: gate.messages)
    await until(lambda: channel.get_state() != grpc.ChannelConnectivity.READY)
    gate.open()

    assert await call == b"in flight"


async def test_what_is_in_flight_after_the_grace_is_cut(serve: Serve, connect: Connect, gate: Gate) -> None:
    served = await serve(grpc_max_connection_age=0.05, grpc_max_connection_age_grace=0.05)
    gate.shut()
    call = connect(served).unary_unary(PATH)(b"")
    code = await call.code()

    assert code.name == "UNAVAILABLE"
