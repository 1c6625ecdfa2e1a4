"""SIGTERM under load: replicas leave without a failed call, and nobody retries."""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import grpc
import pytest
from grpc_health.v1 import health_pb2

from tests.wire.gate import until
from tests.wire.transports import HEALTH_SERVICE, PATH, TRANSPORTS

FOREVER = "3600"
CHECK_INTERVAL_SECONDS = 0.02
WORKERS = 8


@dataclass
class Replica:
    process: Process
    channel: grpc.aio.Channel
    is_serving: bool = True
    answered: int = 0

    async def ask(self, milliseconds: int) -> bytes:
        reply: bytes = await self.channel.unary_unary(PATH)(b"%d" % milliseconds)
        return reply

    async def until_at_work(self) -> None:
        """Wait until a long call has begun."""
        assert self.process.stdout is not None
        assert await self.process.stdout.readline() == b"working\n"

    async def check(self) -> bool:
        method = self.channel.unary_unary("/grpc.health.v1.Health/Check")
        request = health_pb2.HealthCheckRequest(service=HEALTH_SERVICE)
        reply = health_pb2.HealthCheckResponse.FromString(await method(request.SerializeToString()))
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


@dataclass
class Client:
    """Asks the replicas that its health checks call serving, in turn; a failed call stays failed."""

    replicas: list[Replica]
    failures: list[str] = field(default_factory=list)
    is_done: bool = False

    async def check(self, replica: Replica) -> None:
        while replica.is_serving and not self.is_done:
            replica.is_serving = await replica.check()
            await asyncio.sleep(CHECK_INTERVAL_SECONDS)

    async def load(self, turns: itertools.count[int]) -> None:
        while not self.is_done:
            serving = [replica for replica in self.replicas if replica.is_serving]
            replica = serving[next(turns) % len(serving)]
            try:
                await replica.ask(3)
            except grpc.aio.AioRpcError as error:
                self.failures.append(str(error))
            replica.answered += 1

    async def run(self) -> None:
        turns = itertools.count()
        checks = (self.check(replica) for replica in self.replicas)
        await asyncio.gather(*checks, *(self.load(turns) for _ in range(WORKERS)))


@pytest.fixture(params=list(TRANSPORTS))
def transport_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


Start = Callable[..., Awaitable[Replica]]


@pytest.fixture
async def start(transport_name: str) -> AsyncIterator[Start]:
    replicas: list[Replica] = []

    async def start_replica(delay_seconds: str, grace_seconds: str = FOREVER) -> Replica:
        arguments = ("-m", "tests.wire.replica", transport_name, delay_seconds, grace_seconds)
        process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=PIPE)
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
        replicas.append(Replica(process, grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)))
        return replicas[-1]

    yield start_replica
    for replica in replicas:
        await replica.channel.close()
        if replica.process.returncode is None:
            replica.process.kill()
        await replica.process.wait()


async def _exit_status(replica: Replica) -> int:
    async with asyncio.timeout(20):
        return await replica.process.wait()


async def _until_not_serving(replica: Replica) -> None:
    async with asyncio.timeout(30):
        while await replica.check():
            pass


async def test_a_replica_leaves_under_load_without_a_failed_call(start: Start) -> None:
    leaving, staying = await start("1"), await start("1")
    client = Client([leaving, staying])
    running = asyncio.create_task(client.run())
    await until(lambda: min(leaving.answered, staying.answered) > 50)
    leaving.process.send_signal(signal.SIGTERM)
    status = await _exit_status(leaving)
    answered = staying.answered
    await until(lambda: staying.answered > answered + 50)
    client.is_done = True
    await running

    assert client.failures == []
    assert status == 0
    assert not leaving.is_serving


async def test_in_the_delay_health_says_no_and_calls_are_answered(start: Start) -> None:
    replica = await start(FOREVER)
    was_serving = await replica.check()
    replica.process.send_signal(signal.SIGTERM)
    await _until_not_serving(replica)

    assert was_serving
    assert await replica.ask(0) == b"done"


async def test_a_second_signal_ends_the_delay(start: Start) -> None:
    replica = await start(FOREVER)
    replica.process.send_signal(signal.SIGTERM)
    await _until_not_serving(replica)
    replica.process.send_signal(signal.SIGTERM)

    assert await _exit_status(replica) == 0


async def test_a_call_in_flight_finishes_in_the_grace(start: Start) -> None:
    replica = await start("0")
    call = asyncio.create_task(replica.ask(300))
    await replica.until_at_work()
    replica.process.send_signal(signal.SIGTERM)

    assert await _exit_status(replica) == 0
    assert await call == b"done"


async def test_a_call_that_outlasts_the_grace_is_cut(start: Start) -> None:
    replica = await start("0", "0.1")
    call = asyncio.create_task(replica.ask(60_000))
    await replica.until_at_work()
    replica.process.send_signal(signal.SIGTERM)
    status = await _exit_status(replica)

    with pytest.raises(grpc.aio.AioRpcError):
        await call
    assert status == 0
