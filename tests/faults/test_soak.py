"""Half of full load for a while, beside clients that read nothing or write slowly: nothing grows.

full load: as many calls as are answered      ─▶ calls a second
half of it, for minutes in `make soak`        ─▶ resident memory, tasks and descriptors, all along
"""

from __future__ import annotations

import asyncio
import signal
import ssl
import statistics
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import pytest

from protos.interop.rls.v1 import rls_pb2
from serving.clock import SystemClock
from tests.fakes.certificates import issue, make_ca
from tests.fakes.processes import RatelimitProcess, RedisProcess
from tests.wire import http2
from tests.wire.load import Load

RULES = """
domain: soak
descriptors:
  - key: user
    rate_limit: { unit: day, requests_per_unit: 4000000000 }
"""
REQUEST = rls_pb2.RateLimitRequest(domain="soak")
REQUEST.descriptors.add().entries.add(key="user", value="alice")
MESSAGE = REQUEST.SerializeToString()

CONNECTIONS = 4
STREAMS = 32
TICK_SECONDS = 0.01
# Where the machine has less to give than when full load was measured, or stood still, calls are left out and not piled up.
WAITING_MAX = 256

# What allocators keep of the highest moment, which comes late by chance: deaf clients that come while all are busy.
GROWTH_MIB = 16.0


class Watched(RatelimitProcess):
    """The service, and what it holds."""

    async def tasks(self) -> int:
        self.process.send_signal(signal.SIGUSR1)
        return int(await self.output.readline())

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


@dataclass(frozen=True)
class Scene:
    service: Watched
    context: ssl.SSLContext | None

    async def open(self) -> Load:
        return await Load.open(self.service.port, MESSAGE, self.context)


@pytest.fixture(params=["plain", "tls"])
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Scene]:
    redis = RedisProcess(tmp_path / "redis")
    await redis.start()
    environment = {
        "BACKEND_TYPE": "redis",
        "REDIS_SOCKET_TYPE": "unix",
        "REDIS_URL": str(redis.path),
    }
    context = None
    ca = make_ca(tmp_path)
    pair = issue(ca, ["127.0.0.1", "ratelimit"], "server")
    if request.param == "tls":
        files = {"GRPC_SERVER_TLS_CERT": str(pair.certificate), "GRPC_SERVER_TLS_KEY": str(pair.key)}
        environment |= {"GRPC_SERVER_USE_TLS": "true", **files}
        context = ssl.create_default_context(cafile=str(ca.path))
        context.set_alpn_protocols(["h2"])
    service = Watched(tmp_path / "service", RULES, environment, is_piped=True)
    service.command = [sys.executable, "-m", "tests.faults.watched"]
    if context is not None:
        service.trust(pair.certificate, pair.key, ca.path)
    await service.start()
    yield Scene(service, context)
    await service.stop()
    await redis.stop()


async def _full_load(loads: list[Load], seconds: float) -> float:
    """Return how many calls a second are answered at most."""
    clock = SystemClock()
    begin, before = clock.steady(), sum(load.answered for load in loads)

    async def press(load: Load) -> None:
        while clock.steady() < begin + seconds:
            load.ask(STREAMS - load.waiting)
            await load.until_waiting(STREAMS // 2)

    await asyncio.gather(*(press(load) for load in loads))
    return (sum(load.answered for load in loads) - before) / (clock.steady() - begin)


async def _pace(loads: list[Load], per_second: float, end: float) -> None:
    """Send at a fixed rate, whatever the answers do."""
    clock = SystemClock()
    begin, sent = clock.steady(), 0
    for load in cycle(loads):
        now = clock.steady()
        if now >= end:
            return
        wanted = int((now - begin) * per_second) - sent
        sent += wanted
        load.ask(max(0, min(wanted, WAITING_MAX - load.waiting)))
        await asyncio.sleep(TICK_SECONDS)


async def _bother(scene: Scene, end: float) -> None:
    """Come, ask much, read nothing and leave; meanwhile another says a call by single bytes."""
    clock = SystemClock()
    call = http2.hello() + http2.call(1, MESSAGE)
    while clock.steady() < end:
        deaf = await scene.open()
        deaf.pause()
        deaf.ask(500)
        reader, writer = await asyncio.open_connection("127.0.0.1", scene.service.port, ssl=scene.context)
        with suppress(OSError):
            for at in range(len(call)):
                writer.write(call[at : at + 1])
                await asyncio.sleep(TICK_SECONDS / 10)
            async with asyncio.timeout(10):
                await reader.readexactly(1)
        writer.transport.abort()
        deaf.leave()


async def _watch(service: Watched, end: float, samples: list[tuple[float, int, int]]) -> None:
    clock = SystemClock()
    every = (end - clock.steady()) / 50
    while clock.steady() < end:
        samples.append((service.resident_mib(), await service.tasks(), service.descriptors()))
        await asyncio.sleep(every)


@pytest.mark.parametrize("seconds", [2.0, pytest.param(300.0, marks=pytest.mark.soak)])
@pytest.mark.timeout(900)
async def test_nothing_grows_under_half_of_full_load(
    seconds: float, scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    service = scene.service
    loads = [await scene.open() for _ in range(CONNECTIONS)]
    full = await _full_load(loads, min(seconds / 2, 5.0))
    tasks, descriptors = await service.tasks(), service.descriptors()
    samples: list[tuple[float, int, int]] = []
    end = SystemClock().steady() + seconds
    await asyncio.gather(
        _pace(loads, full / 2, end), _watch(service, end, samples), *(_bother(scene, end) for _ in range(2))
    )
    for load in loads:
        await load.until_waiting(0)
    size = len(samples) // 5
    fifths = [statistics.median(mib for mib, _, _ in samples[at : at + size]) for at in range(0, 5 * size, size)]
    answered, failed = sum(load.answered for load in loads), sum(load.failed for load in loads)
    with capsys.disabled():
        print(  # noqa: T201 - figures of a long run are for reading
            f"\n{full:,.0f} calls/s at full load; half of it for {seconds:g} s: {answered:,} calls, {failed} failed, "
            f"{' '.join(f'{mib:.1f}' for mib in fifths)} MiB, tasks {tasks} -> {await service.tasks()}, "
            f"descriptors {descriptors} -> {service.descriptors()}"
        )

    assert failed == 0, service.log.read_text()[-2000:]
    assert fifths[-1] - fifths[1] < GROWTH_MIB

    async def is_as_before() -> bool:
        return await service.tasks() <= tasks and service.descriptors() <= descriptors

    await service.wait_until(is_as_before)
    for load in loads:
        load.leave()
