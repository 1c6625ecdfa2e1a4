"""Clients that ask and never take their answers: what the front keeps for them is bounded, whatever their number."""

from __future__ import annotations

import asyncio
from contextlib import suppress
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
# Without a bound these take 390 MiB; 1,500 streams take 20, and twice that while what was ended is given back.
STREAMS_MAX = 1500
GROWTH_MIB = 100.0
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


@pytest.mark.timeout(120)
async def test_answers_that_nobody_takes_cost_a_bounded_memory(tmp_path: Path) -> None:
    service = RatelimitProcess(tmp_path, RULES, {"TRANSPORT": "front", "GRPC_STREAMS_MAX": str(STREAMS_MAX)})
    await service.start()
    async with grpc.aio.insecure_channel(service.target) as channel:
        method = channel.unary_unary(PATH)
        await method(MESSAGE)
        before = service.resident_mib()
        writers = [await _ask_and_take_nothing(service.port) for _ in range(CONNECTIONS)]
        answer = await method(MESSAGE)
        grown = service.resident_mib() - before
        for writer in writers:
            writer.transport.abort()
    await service.stop()

    assert rls_pb2.RateLimitResponse.FromString(answer).overall_code == rls_pb2.RateLimitResponse.OK
    assert grown < GROWTH_MIB
