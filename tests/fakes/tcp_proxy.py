"""A seeded network between a client and a server, that can be told to fail."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from enum import Enum
from pathlib import Path


class Fault(Enum):
    PASS = "pass"
    DELAY = "delay"
    """Answers come late, by up to twice `delay_seconds`."""
    CUT = "cut"
    """The next answer breaks off in the middle, and the connection with it."""
    HOLE = "hole"
    """Everything is taken, nothing comes back."""
    REFUSE = "refuse"
    """Nobody listens, and who was connected is cut off."""
    GARBAGE = "garbage"
    """Answers are noise."""


class TcpProxy:
    """Passes bytes from a port of its own to a Unix socket."""

    def __init__(self, path: Path, seed: int = 0, delay_seconds: float = 0.05) -> None:
        self._path = path
        self._random = random.Random(seed)
        self._delay_seconds = delay_seconds
        self._fault = Fault.PASS
        self._server: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self.port = 0
        self.connections = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> TcpProxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.cut()

    async def cut(self) -> None:
        """Break every connection there is."""
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def turn(self, fault: Fault) -> None:
        self._fault = fault
        if fault is Fault.REFUSE:
            await self.stop()
        elif self._server is None:
            await self.start()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        pump = asyncio.current_task()
        assert pump is not None
        self._pumps.add(pump)
        pump.add_done_callback(self._pumps.discard)
        with suppress(OSError, asyncio.CancelledError):
            await self._join(reader, writer)
        writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(self._path)
        sides = [
            asyncio.create_task(self._ask(reader, far_writer)),
            asyncio.create_task(self._answer(far_reader, writer)),
        ]
        try:
            await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
        finally:
            far_writer.transport.abort()
            for side in sides:
                side.cancel()
            await asyncio.gather(*sides, return_exceptions=True)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if self._fault is not Fault.HOLE:
                writer.write(data)
                await writer.drain()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            match self._fault:
                case Fault.HOLE:
                    continue
                case Fault.DELAY:
                    await asyncio.sleep(self._delay_seconds * (1 + self._random.random()))
                case Fault.GARBAGE:
                    data = b"!" + self._random.randbytes(len(data))
                case Fault.CUT:
                    writer.write(data[: self._random.randrange(1, max(2, len(data)))])
                    await writer.drain()
                    return
                case _:
                    pass
            writer.write(data)
            await writer.drain()
