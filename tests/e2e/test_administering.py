"""`weir explain`, `weir top` and `weir counters` against a real service."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ratelimit.client import LimiterClient
from tests.e2e.conftest import StartService
from tests.fakes.processes import RatelimitProcess
from weir.__main__ import main

RULES = """domain: llm
descriptors:
  - key: tenant
    rate_limit: { unit: day, requests_per_unit: 1000 }
"""
TOKEN = "t0k3n"


@pytest.fixture
async def service(start_service: StartService) -> RatelimitProcess:
    return await start_service(RULES, {"API_TOKEN": TOKEN})


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    return path


async def weir(service: RatelimitProcess, token_file: Path, *arguments: str) -> Result:
    command = [*arguments, "--target", service.target, "--token-file", str(token_file)]
    # In a thread: the command runs a loop of its own. Wide, so that no cell is folded.
    return await asyncio.to_thread(CliRunner().invoke, main, command, env={"COLUMNS": "200"})


async def spend(service: RatelimitProcess, tokens: int) -> None:
    async with LimiterClient(service.target, domain="llm", token=TOKEN, timeout_seconds=10) as limits:
        assert (await limits.charge(tokens, tenant="acme")).is_answered


async def test_an_operator_sees_who_spends_why_it_is_limited_and_gives_back(
    service: RatelimitProcess, token_file: Path
) -> None:
    await spend(service, 900)
    top = await weir(service, token_file, "top")
    explained = await weir(service, token_file, "explain", "--domain", "llm", "--tokens", "101", "tenant=acme")
    granted = await weir(service, token_file, "counters", "grant", "--domain", "llm", "--tokens", "400", "tenant=acme")
    got = await weir(service, token_file, "counters", "get", "--domain", "llm", "--json", "tenant=acme")
    reset = await weir(service, token_file, "counters", "reset", "--domain", "llm", "tenant=acme")

    assert {each.exit_code for each in (top, explained, granted, got, reset)} == {0}
    assert "tenant=acme" in top.output
    assert "900" in top.output
    assert "tenant=acme  →  tenant  (key)" in explained.output
    assert "rules.yaml:4" in explained.output
    assert "it would be refused" in explained.output
    assert json.loads(got.output)["statuses"][0]["counters"][0]["spent"] == "500"
    assert "1,000 per day" in reset.output


async def test_an_operator_sees_who_holds_what(service: RatelimitProcess, token_file: Path) -> None:
    async with LimiterClient(service.target, domain="llm", token=TOKEN, timeout_seconds=10) as limits:
        async with limits.reserve(700, request_id="chat-1", tenant="acme"):
            shown = await weir(service, token_file, "counters", "holds", "--domain", "llm", "tenant=acme")
            told = await weir(service, token_file, "counters", "holds", "--domain", "llm", "--json", "tenant=acme")
        after = await weir(service, token_file, "counters", "holds", "--domain", "llm", "--json", "tenant=acme")

    assert (shown.exit_code, "chat-1" in shown.output, "700" in shown.output) == (0, True, True)
    assert [(each["id"], each["amount"]) for each in json.loads(told.output)["holds"]] == [("chat-1", "700")]
    assert json.loads(after.output)["holds"] == []


async def test_without_the_right_token_nothing_is_told(service: RatelimitProcess, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong")
    result = await weir(service, wrong, "top")

    assert (result.exit_code, result.output) == (
        2,
        "PERMISSION_DENIED: the caller may not `administer` in this domain\n",
    )


async def test_on_a_terminal_who_spends_is_shown_again_and_again_until_ctrl_c(
    service: RatelimitProcess, token_file: Path
) -> None:
    command = ["top", "--target", service.target, "--token-file", str(token_file), "--interval", "0.1"]
    watching = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "weir", *command),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "TTY_COMPATIBLE": "1", "COLUMNS": "200"},
    )
    assert watching.stdout is not None
    shown = b""
    while b"over" not in shown:
        shown += await watching.stdout.read(65_536)
    await spend(service, 900)
    while b"900" not in shown:
        shown += await watching.stdout.read(65_536)
    watching.send_signal(signal.SIGINT)
    await watching.communicate()

    assert watching.returncode == 0
