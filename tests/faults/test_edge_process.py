"""An engine's process: that it leaves, and that it is made to."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from semcache.errors import StoreUnavailable
from semcache.stores.edge.process import EngineProcess
from tests.fakes.entries import DIMENSIONS


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[EngineProcess]:
    engine = EngineProcess(tmp_path / "1", DIMENSIONS)
    await engine.start(50.0)
    yield engine
    await engine.kill()


def is_there(engine: EngineProcess) -> bool:
    return Path(f"/proc/{engine.pid}").exists()


async def test_an_engine_that_is_stopped_has_gone(engine: EngineProcess) -> None:
    await engine.stop()

    assert (engine.is_running, is_there(engine)) == (False, False)


async def test_an_engine_that_does_not_leave_is_killed(engine: EngineProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semcache.stores.edge.process._STOP_SECONDS", 0.2)
    os.kill(engine.pid, signal.SIGSTOP)

    await engine.stop()

    assert (engine.is_running, is_there(engine)) == (False, False)


async def test_an_engine_whose_end_nobody_waits_for_any_more_is_killed(engine: EngineProcess) -> None:
    os.kill(engine.pid, signal.SIGSTOP)
    stopping = asyncio.create_task(engine.stop())
    await asyncio.sleep(0)
    stopping.cancel()

    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert (engine.is_running, is_there(engine)) == (False, False)


async def test_what_never_started_answers_nothing_and_can_be_stopped(tmp_path: Path) -> None:
    engine = EngineProcess(tmp_path, DIMENSIONS)
    await engine.stop()
    await engine.kill()

    with pytest.raises(StoreUnavailable, match="not running"):
        await engine.call("count", timeout_seconds=1.0)
    assert engine.pid == 0
