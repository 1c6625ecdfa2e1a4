"""LimiterService over both transports: unary methods through the batch port, the stream through grpcio."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from protos.ratelimit.v1 import limiter_pb2 as wire
from ratelimit.api.limiter import SERVICE
from ratelimit.rights import holder_of
from serving.clock import SystemClock
from serving.front import FrontServer
from serving.grpc_server import GrpcServer
from serving.settings import GrpcSettings
from tests.fakes.desks import Apis

RULES = """
domain: llm
descriptors:
  - key: tenant
    rate_limit: {amount: 1000, window: 1h}
"""
TOKEN = "t0k3n"
HEADERS = (("authorization", f"Bearer {TOKEN}"),)
ACME = wire.Descriptor(entries=[wire.Entry(key="tenant", value="acme")])


@pytest.fixture
async def channel(transport: type[GrpcServer | FrontServer]) -> AsyncIterator[grpc.aio.Channel]:
    apis = await Apis(RULES, callers=(holder_of(TOKEN),), clock=SystemClock()).start()
    settings = GrpcSettings(grpc_host="127.0.0.1", grpc_port=0)
    server = transport(settings, apis.own.methods(), SystemClock(), apis.registry, handlers=apis.own.handlers())
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as opened:
        yield opened
    await server.stop()


def unary(channel: grpc.aio.Channel, name: str) -> Any:
    request, response = getattr(wire, f"{name}Request"), getattr(wire, f"{name}Response")
    return channel.unary_unary(f"/{SERVICE}/{name}", request.SerializeToString, response.FromString)


def exchange(channel: grpc.aio.Channel) -> Any:
    return channel.stream_stream(
        f"/{SERVICE}/Exchange", wire.ExchangeRequest.SerializeToString, wire.ExchangeResponse.FromString
    )


def check(number: int) -> wire.ExchangeRequest.Call:
    return wire.ExchangeRequest.Call(id=number, check=wire.CheckRequest(domain="llm", descriptors=[ACME]))


async def test_a_reservation_is_made_and_settled(channel: grpc.aio.Channel) -> None:
    request = wire.ReserveRequest(domain="llm", descriptors=[ACME], amount=wire.Amount(hits=800))
    held = await unary(channel, "Reserve")(request, metadata=HEADERS)
    actual = wire.Amount(hits=300)
    settle = wire.SettleRequest(reservation_id=held.reservation_id, amount=actual)
    settled = await unary(channel, "Settle")(settle, metadata=HEADERS)
    (counter,) = settled.verdict.statuses[0].counters

    assert (held.granted, settled.held, counter.spent, counter.held) == (800, True, 300, 0)


async def test_without_the_token_nobody_may(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await unary(channel, "Check")(wire.CheckRequest(domain="llm", descriptors=[ACME]))

    assert raised.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert TOKEN not in str(raised.value)


async def test_a_stream_answers_each_message_by_the_ids_of_its_calls(channel: grpc.aio.Channel) -> None:
    reserve = wire.ReserveRequest(domain="llm", descriptors=[ACME], amount=wire.Amount(hits=400))
    calls = [wire.ExchangeRequest.Call(id=number, reserve=reserve) for number in (7, 5, 6)]
    stream = exchange(channel)(metadata=HEADERS)
    await stream.write(wire.ExchangeRequest(calls=calls))
    reserved = (await stream.read()).answers
    release = wire.ReleaseRequest(reservation_id=reserved[0].reserve.reservation_id)
    await stream.write(wire.ExchangeRequest(calls=[wire.ExchangeRequest.Call(id=1, release=release), calls[2]]))
    released = (await stream.read()).answers
    await stream.done_writing()

    assert [(each.id, each.reserve.granted) for each in reserved] == [(7, 400), (5, 400), (6, 0)]
    assert [(each.id, each.release.held, each.reserve.granted) for each in released] == [(1, True, 0), (6, False, 400)]


async def test_a_bad_call_in_a_message_hurts_no_other(channel: grpc.aio.Channel) -> None:
    bad = wire.ExchangeRequest.Call(id=2, check=wire.CheckRequest())
    stream = exchange(channel)(metadata=HEADERS)
    await stream.write(wire.ExchangeRequest(calls=[check(1), bad, wire.ExchangeRequest.Call(id=3), check(4)]))
    answers = (await stream.read()).answers
    await stream.done_writing()

    assert [(each.id, each.failure.detail) for each in answers] == [
        (1, ""),
        (2, "domain: is missing"),
        (3, "call: is missing"),
        (4, ""),
    ]


async def test_a_stream_without_the_token_is_answered_call_by_call(channel: grpc.aio.Channel) -> None:
    stream = exchange(channel)()
    await stream.write(wire.ExchangeRequest(calls=[check(1)]))
    (answer,) = (await stream.read()).answers
    await stream.done_writing()

    assert answer.failure.code == grpc.StatusCode.UNAUTHENTICATED.value[0]


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (b"\xff", grpc.StatusCode.INVALID_ARGUMENT),
        (
            wire.ExchangeRequest(calls=[check(number) for number in range(1025)]).SerializeToString(),
            grpc.StatusCode.RESOURCE_EXHAUSTED,
        ),
    ],
    ids=["garbage", "too-many"],
)
async def test_a_message_that_cannot_be_taken_ends_the_stream(
    channel: grpc.aio.Channel, message: bytes, status: grpc.StatusCode
) -> None:
    stream = channel.stream_stream(f"/{SERVICE}/Exchange")(metadata=HEADERS)
    await stream.write(message)

    assert await stream.code() == status
