"""Clients that ask and never take their answers: what the front keeps for them is bounded, whatever their number."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc
import pytest

from protos.interop.rls.v1 import rls_pb2
from tests.fakes.processes import RatelimitProcess
from tests.wire import http2
from tests.wire.transports import PATH

RULES = """
domain: untaken
descriptors:
  - key: user
    rate_limit: { unit: day, requests_per_unit: 4000000000 }
"""
REQUEST = rls_pb2.RateLimitRequest(domain="untaken")
REQUEST.descriptors.add().entries.add(key="user", value="alice")
MESSAGE = REQUEST.SerializeToString()

CONNECTIONS = 30
STREAMS = 1000
# Without a bound these take 390 MiB, with grpcio 680; 1,500 streams take 20 and 38. Beside them there is what was ended
# or refused and is not yet given back.
STREAMS_MAX = 1500
GROWTH_MIB = {"front": 100.0, "grpcio": 200.0}
Ask = Callable[[], Awaitable[int]]
NO_WINDOW = http2.PREFACE + http2.frame(http2.SETTINGS, payload=b"\0\4\0\0\0\0")


async def _ask_and_take_nothing(port: int) -> asyncio.StreamWriter:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(NO_WINDOW + b"".join(http2.call(stream, MESSAGE) for stream in range(1, 2 * STREAMS, 2)))
    # All were answered, or the connection was ended.
    data, piece = b"", b"."
    with suppress(OSError):
        async with asyncio.timeout(60):
            while piece and sum(one.kind == http2.HEADERS for one in http2.frames(data)) < STREAMS:
                piece = await reader.read(65_536)
                data += piece
    return writer


@asynccontextmanager
async def _serving(folder: Path, transport: str) -> AsyncIterator[tuple[RatelimitProcess, Ask]]:
    """Yield a service that has answered once, and a way to ask it."""
    service = RatelimitProcess(folder, RULES, {"TRANSPORT": transport, "GRPC_STREAMS_MAX": str(STREAMS_MAX)})
    await service.start()
    async with grpc.aio.insecure_channel(service.target) as channel:
        method = channel.unary_unary(PATH)

        async def ask() -> int:
            return rls_pb2.RateLimitResponse.FromString(await method(MESSAGE)).overall_code

        await ask()
        yield service, ask
    await service.stop()


@asynccontextmanager
async def _deaf_clients(service: RatelimitProcess) -> AsyncIterator[float]:
    """Yield how many MiB the service has grown by them."""
    before = service.resident_mib()
    writers = [await _ask_and_take_nothing(service.port) for _ in range(CONNECTIONS)]
    yield service.resident_mib() - before
    for writer in writers:
        writer.transport.abort()


@pytest.mark.timeout(120)
async def test_answers_that_nobody_takes_cost_a_bounded_memory_and_no_other_client(tmp_path: Path) -> None:
    async with _serving(tmp_path, "front") as (service, ask), _deaf_clients(service) as grown_mib:
        answer = await ask()

    assert answer == rls_pb2.RateLimitResponse.OK
    assert grown_mib < GROWTH_MIB["front"]


@pytest.mark.timeout(120)
async def test_grpcio_refuses_further_calls_until_answers_are_taken_or_their_clients_gone(tmp_path: Path) -> None:
    async with _serving(tmp_path, "grpcio") as (service, ask):
        async with _deaf_clients(service) as grown_mib:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await ask()
        async with asyncio.timeout(30):
            answer = await _until_taken(ask)

    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert answer == rls_pb2.RateLimitResponse.OK
    assert grown_mib < GROWTH_MIB["grpcio"]


async def _until_taken(ask: Ask) -> int:
    while True:
        with suppress(grpc.aio.AioRpcError):
            return await ask()
