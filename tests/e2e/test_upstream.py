"""The demo upstream as a process of its own, as the compose file starts it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import aiohttp

from tests.fakes.envoy import eventually
from tests.fakes.ports import free_port
from weir.demo import upstream
from weir.demo.child import Child

CHAT = {"max_tokens": 3, "messages": [{"role": "user", "content": "hi"}]}


async def test_it_answers_where_it_was_told_to_listen(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    child = Child("upstream", [sys.executable, "-m", "weir.demo.upstream", address], tmp_path / "log")
    await child.start()

    await eventually(lambda: _answers(address))
    await child.stop()

    assert child.process.returncode is not None


async def test_it_closes_its_port_when_it_is_stopped() -> None:
    address = f"127.0.0.1:{free_port()}"
    serving = asyncio.ensure_future(upstream.serve(address))
    await eventually(lambda: _answers(address))

    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)

    assert not await _answers(address)


async def test_what_never_started_can_be_stopped() -> None:
    await upstream.Upstream().stop()


async def _answers(address: str) -> bool:
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"http://{address}/v1/chat/completions", json=CHAT) as response,
        ):
            return (await response.json())["usage"]["total_tokens"] == 4  # type: ignore[no-any-return]
    except aiohttp.ClientError:
        return False
