"""Dynamic limits where several processes serve one port: in force in all of them, and in one that starts later too."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from click.testing import CliRunner

from protos.interop.rls.v1 import rls_pb2
from tests.e2e.conftest import StartService
from tests.e2e.fleet import Fleet, answers
from tests.fakes.processes import RedisProcess
from weir.__main__ import main

RULES = """domain: d
descriptors:
  - {key: a, rate_limit: {unit: day, requests_per_unit: 1000, ceiling: 5000}}
"""
TOKEN = "t0k3n"
PATIENCE_SECONDS = 60.0
# By chance one of two processes has none of so many connections once in 500 million times.
CONNECTIONS = 30


@pytest.fixture
async def fleet(redis: RedisProcess, start_service: StartService) -> Fleet:
    fleet = Fleet(redis, start_service, RULES)
    await fleet.start(API_TOKEN=TOKEN, DYNAMIC_LIMITS_REFRESH="100ms")
    return fleet


async def limits(fleet: Fleet, tmp_path: Path, *arguments: str) -> int:
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    command = ["limits", *arguments, "--domain", "d", "--target", fleet.service.target, "--token-file", str(token_file)]
    return (await asyncio.to_thread(CliRunner().invoke, main, [*command, "a="])).exit_code


async def amounts(fleet: Fleet) -> set[tuple[int, bool]]:
    """Return which limits processes answer by, and whether they let pass."""
    given = await answers(fleet.service.target, CONNECTIONS)
    passed = rls_pb2.RateLimitResponse.OK
    return {(one.statuses[0].current_limit.requests_per_unit, one.overall_code == passed) for one in given}


async def until_all_answer_by(fleet: Fleet, amount: int, *, passes: bool) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await amounts(fleet) != {(amount, passes)}:
            pass


async def test_a_limit_that_one_process_was_told_is_in_force_in_all(fleet: Fleet, tmp_path: Path) -> None:
    before = await amounts(fleet)
    told = [await limits(fleet, tmp_path, "set", "--tokens", "5000")]
    await until_all_answer_by(fleet, 5000, passes=True)
    told.append(await limits(fleet, tmp_path, "set", "--tokens", "0"))
    await until_all_answer_by(fleet, 0, passes=False)
    told.append(await limits(fleet, tmp_path, "clear"))
    await until_all_answer_by(fleet, 1000, passes=True)

    assert (before, told) == ({(1000, True)}, [0, 0, 0])


async def test_a_process_that_starts_later_lets_nobody_pass_who_was_stopped(fleet: Fleet, tmp_path: Path) -> None:
    await limits(fleet, tmp_path, "set", "--tokens", "0")
    await until_all_answer_by(fleet, 0, passes=False)
    crashed = (await fleet.pids())[0]
    os.kill(crashed, signal.SIGKILL)
    await fleet.until_ready(2, without=crashed)

    # Both of them now, without any wait: the new one has read the limits before it was ready.
    assert await amounts(fleet) == {(0, False)}
