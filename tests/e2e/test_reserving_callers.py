"""Callers of LimiterService as processes, one of them killed, over a real service and a real Redis."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from ratelimit.client import LimiterClient, OverLimit
from tests.e2e.conftest import StartService
from tests.fakes.envoy import eventually
from tests.fakes.processes import RatelimitProcess, RedisProcess
from tests.house.sources import ROOT
from weir.demo.child import Child

RULES = """
domain: llm
descriptors:
  - key: tenant
    rate_limit: {amount: 1000, window: 5h, reserve: {ttl: TTL}}
"""
TOKEN = "t0k3n"

CALLER = """
import asyncio, sys
from ratelimit.client import LimiterClient

async def main():
    async with LimiterClient(sys.argv[1], domain="llm", token=sys.argv[2], on_error="raise", timeout_seconds=10) as limits:
        async with limits.reserve(1000, tenant="acme"):
            print("held", flush=True)
            await asyncio.Event().wait()

asyncio.run(main())
"""


def environment(redis: RedisProcess) -> dict[str, str]:
    return {
        "BACKEND_TYPE": "redis",
        "REDIS_SOCKET_TYPE": "unix",
        "REDIS_URL": str(redis.path),
        "API_TOKEN": TOKEN,
    }


def client(service: RatelimitProcess) -> LimiterClient:
    return LimiterClient(service.target, domain="llm", token=TOKEN, on_error="raise", timeout_seconds=10)


async def stands(limits: LimiterClient) -> tuple[int, int]:
    """Return what is spent and held."""
    (limit,) = (await limits.check(0, tenant="acme")).limits
    return limit.spent, limit.held


async def test_what_a_killed_caller_held_is_back_after_its_time_and_nothing_is_spent(
    start_service: StartService, redis: RedisProcess, tmp_path: Path
) -> None:
    service = await start_service(RULES.replace("TTL", "5s"), environment(redis))
    caller = Child("caller", [sys.executable, "-c", CALLER, service.target, TOKEN], tmp_path / "log", is_piped=True)
    await caller.start()
    async with client(service) as limits:
        assert await caller.output.readline() == b"held\n"
        caller.process.kill()
        await caller.process.wait()
        with pytest.raises(OverLimit):
            await limits.reserve(1, tenant="acme").__aenter__()

        async def is_back() -> bool:
            return await stands(limits) == (0, 0)

        await eventually(is_back)


async def test_a_hold_outlives_the_replica_that_gave_it(start_service: StartService, redis: RedisProcess) -> None:
    rules = RULES.replace("TTL", "60s")
    service = await start_service(rules, environment(redis))
    async with client(service) as limits:
        async with limits.reserve(800, tenant="acme") as hold:
            await service.stop()
            service = await start_service(rules, environment(redis), port=service.port)
            async with client(service) as others:
                inside = await stands(others)
            hold.settle(300)

        assert (inside, await stands(limits)) == ((0, 800), (300, 0))


async def test_the_example_spends_a_budget_and_no_more(start_service: StartService) -> None:
    rules = (ROOT / "examples" / "rules" / "token-budgets.yaml").read_text(encoding="utf-8")
    service = await start_service(rules, {"API_TOKEN": TOKEN})
    example = await asyncio.create_subprocess_exec(
        sys.executable, str(ROOT / "examples" / "reserve.py"), service.target, TOKEN, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await example.communicate()
    refused, left = output.decode().splitlines()

    assert "over the limit of llm.user; ask again in " in refused
    assert " 0 held, " in left
    assert int(left.split()[1]) <= 300


async def test_the_example_of_blocks_spends_what_a_user_has_and_charges_many(start_service: StartService) -> None:
    rules = (ROOT / "examples" / "rules" / "token-budgets.yaml").read_text(encoding="utf-8")
    # Of a day, so that none ends meanwhile.
    service = await start_service(rules.replace("minute", "day"), {"API_TOKEN": TOKEN})
    example = await asyncio.create_subprocess_exec(
        sys.executable, str(ROOT / "examples" / "spend.py"), service.target, TOKEN, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await example.communicate()
    sent, stands, many = output.decode().splitlines()
    pieces = int(sent.split()[0])

    assert stands == f"llm.user: {5 * pieces} spent of 300"
    assert many == "200 of 200 users could pay"
