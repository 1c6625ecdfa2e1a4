"""Parts of a `weir run` that only show when something is wrong."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from tests.e2e.conftest import StartService
from tests.fakes.envoy import eventually
from tests.fakes.ports import alone
from weir.__main__ import main
from weir.client import AskError, Client
from weir.demo import session
from weir.demo.board import Board, Exchange
from weir.demo.child import Child, ChildError

LINE = '{"user":"alice","model":null,"tokens":7,"status":200}'
NOBODY = "unix:/no/such/socket"

RULES = """
domain: llm
descriptors:
  - key: user
    rate_limit: { unit: day, requests_per_unit: 10 }
"""


@pytest.mark.timeout(240)  # the others that run one come first
def test_an_envoy_that_ends_at_once_ends_the_run_with_its_reason() -> None:
    with alone():
        result = CliRunner().invoke(main, ["run", "--port", "0", "--envoy", "/bin/false"])

    assert result.exit_code == 1
    assert "Envoy ended with status 1" in result.output
    assert "Stopped." in result.output


async def test_other_lines_of_envoy_are_passed_over_and_its_end_is_an_error(tmp_path: Path) -> None:
    output = io.StringIO()
    envoy = Child("Envoy", ["/bin/sh", "-c", "echo something; echo else; exit 5"], tmp_path / "log", is_piped=True)
    await envoy.start()

    async with Client(NOBODY) as client:
        with pytest.raises(ChildError, match="Envoy ended with status 5"):
            await session.print_exchanges(envoy, Board(client), Console(file=output))

    assert output.getvalue() == ""


async def test_a_service_that_does_not_answer_is_told(tmp_path: Path) -> None:
    output = io.StringIO()
    envoy = Child("Envoy", ["/bin/sh", "-c", f"echo '{LINE}'; exec sleep 60"], tmp_path / "log", is_piped=True)
    await envoy.start()

    async with Client(NOBODY) as client:
        following = asyncio.ensure_future(session.follow(envoy, Board(client), Console(file=output)))
        await eventually(lambda: _contains(output, "The rate limit service did not answer: UNAVAILABLE"))
        is_following = not following.done()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    await envoy.stop()

    assert is_following


async def test_budgets_are_looked_at_again_when_the_service_is_back(
    start_service: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "REFRESH_SECONDS", 0.01)
    service = await start_service(RULES)

    async with Client(service.target) as client:
        board = Board(client)
        await board.note(Exchange("alice", None, 7, 200))
        looking = asyncio.ensure_future(session.refresh(board))
        await service.stop()
        await eventually(lambda: _fails(client))
        await start_service(RULES, port=service.port)
        await eventually(lambda: _succeeds(client))
        is_looking = not looking.done()
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)

    assert is_looking


async def _fails(client: Client) -> bool:
    return not await _succeeds(client)


async def _succeeds(client: Client) -> bool:
    try:
        await client.ask("llm", [(("user", "alice"),)])
    except AskError:
        return False
    return True


async def _contains(output: io.StringIO, text: str) -> bool:
    return text in output.getvalue()
