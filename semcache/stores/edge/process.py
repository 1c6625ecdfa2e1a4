"""The service's end of an engine process: calls with ids, answers to futures, all bounded.

The process is started by `subprocess` and not by the event loop: uvloop forks and runs Python in the child before it
becomes the engine, which beside gRPC's threads may hang. `subprocess` runs none.
"""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from semcache.errors import StoreRefused, StoreTimeout, StoreUnavailable

_HEADER_BYTES = 4
# What a process gets to finish its request and flush, once its stdin has ended.
_STOP_SECONDS = 10.0


class _Frames(asyncio.Protocol):
    """Cuts what the engine says into frames; no larger than what it was asked for, so nothing is held back.

    Not a StreamReader: its reader is a task that has to be woken for each frame, before who waits for it is woken.
    """

    def __init__(self, take: Callable[[bytes], None], end: Callable[[], None]) -> None:
        self._take = take
        self._end = end
        self._buffer = bytearray()

    def data_received(self, data: bytes) -> None:
        """Take what came, and give every frame that is whole."""
        self._buffer += data
        while len(self._buffer) >= _HEADER_BYTES:
            end = _HEADER_BYTES + int.from_bytes(self._buffer[:_HEADER_BYTES], "little")
            if len(self._buffer) < end:
                return
            frame = bytes(self._buffer[_HEADER_BYTES:end])
            del self._buffer[:end]
            self._take(frame)

    def connection_lost(self, error: Exception | None) -> None:
        """Say that no more will come, for whatever reason."""
        del error
        self._end()


class EngineProcess:
    """One engine on one folder."""

    def __init__(
        self, folder: Path, dimensions: int, *, index_threads: int = 1, calls_max: int = 1024, warm_bytes_max: int = 0
    ) -> None:
        self.folder = folder
        self._dimensions = dimensions
        self._index_threads = index_threads
        self._calls_max = calls_max
        self._warm_bytes_max = warm_bytes_max
        self._process: subprocess.Popen[bytes] | None = None
        self._stdin: asyncio.WriteTransport | None = None
        self._stdout: asyncio.ReadTransport | None = None
        self._lost: asyncio.Future[asyncio.Future[int]] | None = None
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._number = 0

    @property
    def pid(self) -> int:
        """Its process id; 0 while there is none."""
        return self._process.pid if self._process else 0

    @property
    def is_running(self) -> bool:
        """False before start, and as soon as it is seen to be gone."""
        return self._lost is not None and not self._lost.done()

    async def start(self, timeout_seconds: float, nice: int = 0) -> None:
        """Start, and return when the shard is open.

        Raises:
            StoreUnavailable: it cannot be opened; the reason is on standard error.
        """
        numbers = (self._dimensions, self._index_threads, nice, timeout_seconds / 2, self._warm_bytes_max)
        command = [sys.executable, "-m", "semcache.stores.edge.engine", str(self.folder), *map(str, numbers)]
        # Signals of the terminal are the service's: it stops this process when it is done.
        self._process = subprocess.Popen(  # noqa: ASYNC220, S603 - our own module; returns once the child runs, in milliseconds
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        ready = self._expect(0)
        await self._open_pipes(self._process)
        try:
            async with asyncio.timeout(timeout_seconds):
                await ready
        except BaseException as error:
            await self.kill()
            if isinstance(error, TimeoutError):
                raise StoreUnavailable(f"{self.folder} was not opened within {timeout_seconds:g} s") from None
            if isinstance(error, StoreUnavailable):
                raise StoreUnavailable(f"{self.folder} was not opened: standard error has the reason") from None
            raise

    async def call(self, verb: str, *arguments: object, timeout_seconds: float | None) -> Any:  # noqa: ANN401 - as the verb
        """Have the engine do something.

        Raises:
            StoreTimeout: no answer in time; it may still happen.
            StoreUnavailable: the process is gone, or too many calls wait for it.
            StoreRefused: the engine raised.
        """
        if not self.is_running or self._stdin is None:
            raise StoreUnavailable("the store's process is not running")
        if len(self._waiting) >= self._calls_max:
            raise StoreUnavailable(f"{self._calls_max} calls wait for the store")
        self._number += 1
        number = self._number
        future = self._expect(number)
        body = pickle.dumps((number, verb, arguments), protocol=pickle.HIGHEST_PROTOCOL)
        self._stdin.write(len(body).to_bytes(_HEADER_BYTES, "little") + body)
        # Not asyncio.timeout: every lookup passes here, and that costs as much again as the frame.
        ending = self._end_later(future, verb, timeout_seconds) if timeout_seconds is not None else None
        try:
            return await future
        finally:
            self._waiting.pop(number, None)
            if ending is not None:
                ending.cancel()

    async def stop(self) -> None:
        """Let it finish what it was sent, flush and leave; kill it if it does not, or if nobody waits for that."""
        if self._stdin is None or self._lost is None:
            return
        self._stdin.close()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                ending = await asyncio.shield(self._lost)
            await asyncio.shield(ending)
        except TimeoutError:
            await self.kill()
        except BaseException:
            await self.kill()
            raise

    async def kill(self) -> None:
        """End it at once."""
        if self._process is not None and self._lost is not None:
            self._process.kill()
            await asyncio.shield(await asyncio.shield(self._lost))

    async def _open_pipes(self, process: subprocess.Popen[bytes]) -> None:
        loop = asyncio.get_running_loop()
        self._lost = lost = loop.create_future()
        end = partial(self._end, process, lost)
        self._stdin, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, process.stdin)
        self._stdout, _ = await loop.connect_read_pipe(lambda: _Frames(self._answer, end), process.stdout)

    @staticmethod
    def _end_later(future: asyncio.Future[Any], verb: str, timeout_seconds: float) -> asyncio.TimerHandle:
        def end() -> None:
            if not future.done():
                future.set_exception(StoreTimeout(f"{verb}: no answer within {timeout_seconds:g} s"))

        return future.get_loop().call_later(timeout_seconds, end)

    def _expect(self, number: int) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        return future

    def _end(self, process: subprocess.Popen[bytes], lost: asyncio.Future[asyncio.Future[int]]) -> None:
        for pipe in filter(None, (self._stdin, self._stdout)):
            pipe.close()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(StoreUnavailable("the store's process is gone"))
        self._waiting.clear()
        # However it ended, and whoever still waits for that: it is not left behind as a zombie.
        lost.set_result(asyncio.get_running_loop().run_in_executor(None, process.wait))

    def _answer(self, body: bytes) -> None:
        number, is_done, value = pickle.loads(body)  # noqa: S301 - from the process that this one started
        future = self._waiting.pop(number, None)
        if future is None or future.done():
            return  # its caller has given up
        if is_done:
            future.set_result(value)
        else:
            future.set_exception(StoreRefused(value))
