"""`weir limits` on a running service, seen by clients of a real Envoy."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.e2e.conftest import Ask, StartGateway, StartService
from tests.fakes.processes import RatelimitProcess, RedisProcess
from weir.__main__ import main

RULES = """domain: requests
descriptors:
  - key: user
    rate_limit: { unit: day, requests_per_unit: 1, ceiling: 3 }
"""
TOKEN = "t0k3n"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    return path


async def limits(service: RatelimitProcess, token_file: Path, *arguments: str) -> Result:
    command = ["limits", *arguments, "--target", service.target, "--token-file", str(token_file)]
    return await asyncio.to_thread(CliRunner().invoke, main, command, env={"COLUMNS": "200"})


async def test_a_client_of_envoy_has_more_once_an_operator_raised_its_limit_and_no_more_once_it_is_cleared(
    start_service: StartService, start_gateway: StartGateway, ask: Ask, redis: RedisProcess, token_file: Path
) -> None:
    environment = {"BACKEND_TYPE": "redis", "REDIS_SOCKET_TYPE": "unix", "REDIS_URL": str(redis.path)}
    service = await start_service(RULES, {**environment, "API_TOKEN": TOKEN})
    gateway = await start_gateway("requests.yaml", {"ratelimit:8081": service.target, "0.02s": "5s"})

    first = [(await ask(gateway)).status for _ in range(2)]
    given = await limits(service, token_file, "set", "--domain", "requests", "--tokens", "3", "user=alice")
    raised = [(await ask(gateway)).status for _ in range(2)]
    cleared = await limits(service, token_file, "clear", "--domain", "requests", "user=alice")
    after = await ask(gateway)

    # What was refused was spent, as envoyproxy/ratelimit spends it: one of the three is left.
    assert (first, raised, after.status) == ([200, 429], [200, 429], 429)
    assert (given.exit_code, cleared.exit_code) == (0, 0)
    assert "3 per day" in given.output
    assert cleared.output == "the rule's own amount is in force again\n"


async def test_an_operator_lists_what_is_in_force_and_cannot_go_beyond_the_ceiling(
    start_service: StartService, token_file: Path
) -> None:
    service = await start_service(RULES, {"API_TOKEN": TOKEN})
    for user in ("alice", "bob"):
        await limits(service, token_file, "set", "--domain", "requests", "--tokens", "2", "--ttl", "1h", f"user={user}")
    listed = await limits(service, token_file, "list", "--json")
    shown = await limits(service, token_file, "list", "--domain", "requests")
    late = await limits(
        service, token_file, "set", "--domain", "requests", "--tokens", "3", "--expected-version", "9", "user=bob"
    )
    command = ["counters", "get", "--domain", "requests", "--target", service.target, "--token-file", str(token_file)]
    got = await asyncio.to_thread(CliRunner().invoke, main, [*command, "user=bob", "user=eve"], env={"COLUMNS": "200"})
    beyond = await limits(service, token_file, "set", "--domain", "requests", "--tokens", "4", "user=bob")

    found = [(each["entries"][0]["value"], each["amount"]) for each in json.loads(listed.output)["limits"]]
    assert found == [("alice", "2"), ("bob", "2")]
    assert "user=bob" in shown.output
    assert "2 per day (the rule says 1)" in got.output
    assert "1 per day " in got.output
    assert (late.exit_code, late.output) == (2, "ABORTED: expected_version: the limit has version 2 by now\n")
    assert (beyond.exit_code, "at most 3 is taken (ceiling, " in beyond.output) == (2, True)
