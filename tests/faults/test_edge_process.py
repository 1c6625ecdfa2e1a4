"""An engine's process: that it leaves, and that it is made to."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from subprocess import PIPE

import pytest

from semcache.errors import StoreUnavailable
from semcache.stores.edge.frames import read_frame, write_frame
from semcache.stores.edge.lock import lock
from semcache.stores.edge.process import EngineProcess
from tests.fakes.entries import DIMENSIONS

ROOT = Path(__file__).parents[2]


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


def test_an_engine_whose_service_dies_while_it_answers_leaves_quietly(tmp_path: Path) -> None:
    numbers = [str(DIMENSIONS), "1", "0", "9", "0"]
    command = [sys.executable, "-m", "semcache.stores.edge.engine", str(tmp_path / "1"), *numbers]
    with subprocess.Popen(command, cwd=ROOT, stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        read_frame(process.stdout)
        process.stdout.close()
        write_frame(process.stdin, (1, "count", ([],)))
        said = process.stderr.read()

    assert (process.returncode, said) == (0, b"")


def test_a_folder_that_another_process_keeps_is_waited_for_as_long_as_asked(tmp_path: Path) -> None:
    kept = lock(tmp_path / "1", 1.0)

    with pytest.raises(TimeoutError, match=r"another process has .*/3"):
        lock(tmp_path / "3", 0.05)
    os.close(kept)
    os.close(lock(tmp_path / "3", 0.0))


async def test_an_answer_that_comes_in_the_moment_in_which_its_time_is_up_counts() -> None:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[int] = loop.create_future()
    over = asyncio.Event()
    EngineProcess._end_later(answer, "count", 0.0)
    loop.call_later(0.0, over.set)
    answer.set_result(7)
    await over.wait()

    assert answer.result() == 7
