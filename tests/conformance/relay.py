"""A relay to the store that can be cut, held and mended while a scenario runs."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Literal, TypeAlias

State: TypeAlias = Literal["up", "down", "hang"]
_CHUNK_BYTES = 65_536


class Relay:
    """TCP to TCP. `down` cuts connections and refuses new ones, `hang` holds bytes back, `up` lets them go on."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._flow = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self) -> None:
        self._flow.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def turn(self, state: State) -> None:
        match state:
            case "down":
                await self.stop()
            case "hang":
                self._flow.clear()
            case "up":
                self._flow.set()
                if self._server is None:
                    await self.start()

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await self._join(reader, writer)
        writer.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._upstream)
        try:
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        finally:
            far_writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(_CHUNK_BYTES):
            await self._flow.wait()
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()
