"""`weir check` and `weir serve` against the real thing."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from click.testing import CliRunner, Result

from tests.e2e.conftest import StartService
from tests.fakes.processes import RatelimitProcess
from weir.__main__ import main

RULES = """
domain: llm
descriptors:
  - key: user
    rate_limit: { unit: day, requests_per_unit: 10 }
"""


async def check(service: RatelimitProcess, *arguments: str) -> Result:
    command = ["check", "--target", service.target, "--domain", "llm", *arguments]
    # In a thread: the command runs a loop of its own.
    return await asyncio.to_thread(CliRunner().invoke, main, command)


async def test_looking_spends_nothing_and_hits_are_spent(start_service: StartService) -> None:
    service = await start_service(RULES)

    looked = [await check(service, "user=alice") for _ in range(20)]
    spent = await check(service, "user=alice", "--hits", "11")

    assert {each.exit_code for each in looked} == {0}
    assert "10 per day" in looked[-1].output
    assert spent.exit_code == 1
    assert "OVER_LIMIT" in spent.output


async def test_json_answers_in_the_order_asked(start_service: StartService) -> None:
    service = await start_service(RULES)

    result = await check(service, "--json", "--hits", "3", "user=alice", "nothing=here")

    statuses = json.loads(result.output)["statuses"]
    assert result.exit_code == 0
    assert [each["limitRemaining"] for each in statuses] == [7, 0]
    assert [each.get("currentLimit", {}).get("requestsPerUnit") for each in statuses] == [10, None]


async def test_what_the_service_refuses_to_answer_is_an_error(start_service: StartService) -> None:
    service = await start_service(RULES)

    result = await asyncio.to_thread(
        CliRunner().invoke, main, ["check", "--target", service.target, "--domain", "", "user=alice"]
    )

    assert result.exit_code == 2
    assert "rate limit domain must not be empty" in result.output


async def test_weir_serve_is_the_service(tmp_path: Path) -> None:
    service = RatelimitProcess(tmp_path, RULES, {})
    service.command = [sys.executable, "-m", "weir", "serve", "ratelimit"]
    await service.start()

    answer = await check(service, "user=alice")
    await service.stop()

    assert answer.exit_code == 0
    assert service.process.returncode == 0
