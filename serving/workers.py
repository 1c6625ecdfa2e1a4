"""Several processes on one port, and what looks after them.

    Workers ── spawn ──▶ worker 0 … N-1, each listening on the shared ports
       ▲  ▲                │        │
       │  └─ end ──────────┘        └── its pages, on a private socket: metrics, profiles
       └── started again, after a pause that doubles

1. A worker that ends is started again. The pause doubles up to `restart_pause_max_seconds`, and is short again once a
   worker has stood for so long.
2. As long as none has ever been ready, one that ends, ends the start: wrong settings are an exit status and no loop.
3. A worker whose standard input ends has lost who looks after it, and stops by itself.
4. Signals of a terminal reach the workers only through us: they are no part of its process group.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web

from serving.clock import Clock
from serving.fleet import Fleet
from serving.http import Page
from serving.metrics import Registry

_log = logging.getLogger(__name__)

# How often a worker that starts is asked whether it is ready.
_LOOK_SECONDS = 0.05

# Rules may be large and profiles long; a worker that is silent for longer has no page to give.
_PAGE_SECONDS_MAX = 70.0
_DUMP_SECONDS_MAX = 2.0

DUMP_PATH = "/dump"


class WorkerFailed(Exception):  # noqa: N818 - what happened, in two words
    """A worker ended before any was ready."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many, how long."""

    workers: int
    restart_pause_seconds: float
    restart_pause_max_seconds: float
    stop_seconds: float
    """From the signal to the end; then a worker is killed."""


class Worker:
    """One process, and its pages."""

    def __init__(self, number: int, path: Path, process: asyncio.subprocess.Process) -> None:
        self.number = number
        self._path = path
        self._process = process
        self.is_ready = False

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def last_dump(self) -> str:
        """What it wrote at its end.

        Raises:
            OSError: it did not come to that.
        """
        return last_dump_path(self._path).read_text()

    async def end(self) -> int:
        """Wait for its end and return its status."""
        return await self._process.wait()

    def signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def become_ready(self) -> None:
        """Wait until its pages are there, which is after everything else has started."""
        while True:
            with suppress(OSError, aiohttp.ClientError, TimeoutError):
                await self.get(DUMP_PATH, _DUMP_SECONDS_MAX)
                self.is_ready = True
                return
            await asyncio.sleep(_LOOK_SECONDS)

    async def get(self, target: str, seconds_max: float) -> tuple[int, str]:
        """Return the status and the text of one of its pages.

        Raises:
            aiohttp.ClientError: it has none.
            TimeoutError: it does not answer.
        """
        connector = aiohttp.UnixConnector(str(self._path))
        timeout = aiohttp.ClientTimeout(seconds_max)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get(f"http://worker{target}") as answer,
        ):
            return answer.status, await answer.text()


class Workers:
    """A part that is all workers."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], bounds: Bounds, registry: Registry, clock: Clock,
        *, series_max: int,
    ) -> None:  # fmt: skip
        self._command = command
        self._env = env
        self._bounds = bounds
        self._clock = clock
        self._fleet = Fleet(registry, series_max=series_max)
        self._folder: Path | None = None
        self._running: dict[int, Worker] = {}
        self._slots: list[asyncio.Task[None]] = []
        self._started = 0
        self._any_ready = asyncio.Event()
        self._restarts = registry.counter("weir.workers.restarts")
        registry.gauge("weir.workers.ready", lambda: sum(worker.is_ready for worker in self._running.values()))
        registry.refresh_by(self.refresh)

    async def start(self) -> None:
        """Start every worker; return when all are ready.

        Raises:
            WorkerFailed: one ended before any was ready.
        """
        self._folder = Path(tempfile.mkdtemp(prefix="weir-"))  # of mode 0700
        firsts = [asyncio.get_running_loop().create_future() for _ in range(self._bounds.workers)]
        self._slots = [asyncio.create_task(self._keep(number, first)) for number, first in enumerate(firsts)]
        await asyncio.gather(*firsts)

    async def stop(self) -> None:
        """Have all drain at the same time; kill what has not ended in time."""
        for slot in self._slots:
            slot.cancel()
        await asyncio.gather(*self._slots, return_exceptions=True)
        workers = list(self._running.values())
        for worker in workers:
            worker.signal(signal.SIGTERM)
        ends = [asyncio.create_task(worker.end()) for worker in workers]
        if ends:
            await asyncio.wait(ends, timeout=self._bounds.stop_seconds)
        for worker in workers:
            worker.signal(signal.SIGKILL)
        await asyncio.gather(*ends)
        for worker in workers:
            self._take_last(worker)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def hurry(self) -> None:
        """Have those that drain end at once."""
        for worker in self._running.values():
            worker.signal(signal.SIGTERM)

    async def refresh(self) -> None:
        """Read the metrics of every worker that answers."""
        await asyncio.gather(*(self._read(worker) for worker in list(self._running.values()) if worker.is_ready))

    def page(self, path: str) -> Page:
        """Return a page that is the one of a worker: of `?worker=0`, or of the first that is ready."""

        async def answer(request: web.BaseRequest) -> web.Response:
            wanted = request.query.get("worker")
            ready = [worker for _, worker in sorted(self._running.items()) if worker.is_ready]
            worker = next((worker for worker in ready if wanted in {None, str(worker.number)}), None)
            if worker is None:
                return web.Response(status=503, text="no such worker is ready\n")
            query = f"?{request.query_string}" if request.query_string else ""
            try:
                status, text = await worker.get(path + query, _PAGE_SECONDS_MAX)
            except (OSError, aiohttp.ClientError, TimeoutError):
                return web.Response(status=503, text="the worker does not answer\n")
            return web.Response(status=status, text=text)

        return answer

    async def listing(self, _request: web.BaseRequest) -> web.Response:
        """Answer with a line for each worker: number, process, whether it is ready."""
        lines = [
            f"{number} {worker.pid} {'ready' if worker.is_ready else 'starting'}\n"
            for number, worker in sorted(self._running.items())
        ]
        return web.Response(text="".join(lines))

    async def _read(self, worker: Worker) -> None:
        with suppress(OSError, aiohttp.ClientError, TimeoutError):
            _, text = await worker.get(DUMP_PATH, _DUMP_SECONDS_MAX)
            # It may have ended since it answered: what it left at its end is newer.
            if self._running.get(worker.number) is worker:  # pragma: no branch - between two turns of the loop
                self._fleet.take(worker.number, text)

    async def _keep(self, number: int, first: asyncio.Future[None]) -> None:
        pause = self._bounds.restart_pause_seconds
        while True:
            begun = self._clock.steady()
            status = await self._live(number, first)
            if not self._any_ready.is_set():
                if not first.done():
                    first.set_exception(WorkerFailed(f"worker {number} ended with status {status} before it was ready"))
                return
            if self._clock.steady() - begun >= self._bounds.restart_pause_max_seconds:
                pause = self._bounds.restart_pause_seconds
            _log.error("worker %d ended with status %d; it is started again in %g s", number, status, pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, self._bounds.restart_pause_max_seconds)
            self._restarts.add()

    async def _live(self, number: int, first: asyncio.Future[None]) -> int:
        """Live through one process of a slot, and return its status."""
        worker = self._running[number] = await self._spawn(number)
        getting_ready = asyncio.create_task(worker.become_ready())
        getting_ready.add_done_callback(lambda done: None if done.cancelled() else self._tell_ready(first))
        try:
            status = await worker.end()
        finally:
            getting_ready.cancel()
        self._take_last(worker)
        return status

    def _take_last(self, worker: Worker) -> None:
        """Take what a worker left when it ended in peace, and forget it."""
        with suppress(OSError):
            self._fleet.take(worker.number, worker.last_dump)
        self._fleet.end(worker.number)
        del self._running[worker.number]

    def _tell_ready(self, first: asyncio.Future[None]) -> None:
        self._any_ready.set()
        if not first.done():
            first.set_result(None)

    async def _spawn(self, number: int) -> Worker:
        self._started += 1
        path = Path(str(self._folder), f"{self._started}")
        process = await asyncio.create_subprocess_exec(
            *self._command, str(path), stdin=asyncio.subprocess.PIPE, env=self._env, start_new_session=True
        )
        return Worker(number, path, process)


def last_dump_path(path: Path) -> Path:
    """Return the file that a worker with this socket writes its last metrics to."""
    return path.with_suffix(".last")


class Leash:
    """The part of a worker that ends it when who looks after it is gone."""

    async def start(self) -> None:
        """Begin to watch standard input."""
        asyncio.get_running_loop().add_reader(0, self._read)

    async def stop(self) -> None:
        """Watch no more."""
        asyncio.get_running_loop().remove_reader(0)

    def _read(self) -> None:
        if not os.read(0, 1):
            asyncio.get_running_loop().remove_reader(0)
            os.kill(os.getpid(), signal.SIGTERM)


def reserve(host: str, port: int) -> socket.socket:
    """Bind an address that processes of ours may share, without listening: it is ours, and a free port is chosen.

    Raises:
        OSError: somebody else has it.
    """
    [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    held = socket.socket(family, kind, protocol)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(address)
    except OSError:
        held.close()
        raise
    return held
