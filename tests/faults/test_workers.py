"""Workers that fall, are silent or come late, and who looks after them: small processes of the tests, real sockets."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from serving.metrics import Registry
from serving.workers import DUMP_PATH, Bounds, Leash, Workers, reserve
from tests.fakes.clock import FakeClock

PAUSE_SECONDS, PAUSE_MAX_SECONDS = 0.01, 30.0
PATIENCE_SECONDS = 40.0
# Serves its dump at the path it was given, and hangs up at every other page.
WORKER = f"""
import sys
from aiohttp import web

async def dump(request):
    return web.Response(text="")

async def hang_up(request):
    request.transport.abort()
    return web.Response()

app = web.Application()
app.add_routes([web.get("{DUMP_PATH}", dump), web.get("/rules", hang_up)])
web.run_app(app, path=sys.argv[1], print=None)
"""


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not is_so():  # noqa: ASYNC110 - what is waited for is another process
            await asyncio.sleep(0.01)


class Bench:
    """Workers that run a program, on a clock that stands."""

    def __init__(self, folder: Path, program: str, count: int = 1) -> None:
        (folder / "worker.py").write_text(program)
        self.clock, self.registry = FakeClock(), Registry()
        bounds = Bounds(count, PAUSE_SECONDS, PAUSE_MAX_SECONDS, 10.0)
        command = [sys.executable, str(folder / "worker.py")]
        self.workers = Workers(command, dict(os.environ), bounds, self.registry, self.clock, series_max=10)

    @property
    def pids(self) -> list[int]:
        return [worker.pid for worker in self.workers._running.values() if worker.is_ready]

    async def fall(self) -> None:
        """Have the only worker end, and wait for the next one."""
        (fallen,) = self.pids
        os.kill(fallen, signal.SIGKILL)
        await until(lambda: bool(self.pids) and self.pids != [fallen])


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path, WORKER)
    await bench.workers.start()
    yield bench
    await bench.workers.stop()


async def test_a_page_that_a_worker_does_not_give_is_not_there(bench: Bench) -> None:
    app = web.Application()
    app.add_routes([web.get("/rules", bench.workers.page("/rules"))])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0]
    async with ClientSession() as session, session.get(f"http://{host}:{port}/rules") as answer:
        told = answer.status, await answer.text()
    await runner.cleanup()

    assert told == (503, "the worker does not answer\n")


async def test_the_pause_doubles_and_is_short_again_after_a_long_life(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    for seconds in (0.0, 0.0, PAUSE_MAX_SECONDS):
        bench.clock.advance(seconds)
        await bench.fall()

    pauses = [message.rpartition(" in ")[2] for message in caplog.messages if "is started again" in message]
    assert pauses == ["0.01 s", "0.02 s", "0.01 s"]


async def test_a_start_that_was_given_up_leaves_nobody_behind(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "import signal; signal.pause()")
    starting = asyncio.create_task(bench.workers.start())
    await until(lambda: bool(bench.workers._running))
    starting.cancel()
    with suppress(asyncio.CancelledError):
        await starting
    (worker,) = bench.workers._running.values()
    worker.signal(signal.SIGKILL)
    await until(lambda: all(slot.done() for slot in bench.workers._slots))
    errors = [slot.exception() for slot in bench.workers._slots]
    await bench.workers.stop()

    assert (errors, bench.workers._running) == ([None], {})


async def test_a_leash_is_let_go_by_its_end_and_not_by_a_word() -> None:
    kept, (inside, outside) = os.dup(0), os.pipe()
    os.dup2(inside, 0)
    leash, signals = Leash(), list[int]()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, signals.append, signal.SIGTERM)
    try:
        await leash.start()
        os.write(outside, b"a word")
        await until(lambda: not select.select([inside], [], [], 0)[0])
        after_word = list(signals)
        os.close(outside)
        await until(lambda: bool(signals))
    finally:
        await leash.stop()
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
        os.dup2(kept, 0)
        os.close(kept)
        os.close(inside)

    assert (after_word, signals) == ([], [signal.SIGTERM])


def test_an_address_that_somebody_else_has_is_refused() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()

        with pytest.raises(OSError, match="in use"):
            reserve("127.0.0.1", other.getsockname()[1])
