"""A statsd that adds up what it is sent, over TCP and UDP on one port."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import deque

# name:value|type, then what a dialect adds: a sample rate (|@0.1), tags (|#a:b,c:d).
_LINE = re.compile(r"(?P<name>.+?):(?P<value>[-+]?[\d.]+)\|(?P<type>c|g|ms|h)(?P<rest>\|.*)?")
_LINES_MAX = 100_000


class Statsd:
    """Counters by name (with dogstatsd's tags behind it, `name|#a:b`), gauges by name, and the last lines as they came."""

    def __init__(self) -> None:
        self.counters: dict[str, float] = {}
        self.gauges: dict[str, float] = {}
        self.lines: deque[str] = deque(maxlen=_LINES_MAX)
        self.port = 0
        self._server: asyncio.Server | None = None
        self._datagrams: asyncio.DatagramTransport | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._server = await asyncio.start_server(self._accept, host, port)
        self.port = self._server.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        self._datagrams, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), (host, self.port))

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        if self._datagrams is not None:
            self._datagrams.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def take(self, text: str) -> None:
        """Add up one line; what is no statsd is kept in `lines` only."""
        self.lines.append(text)
        if (found := _LINE.fullmatch(text)) is None:
            return
        tags = next((part for part in (found["rest"] or "").split("|") if part.startswith("#")), "")
        name = f"{found['name']}|{tags}" if tags else found["name"]
        if found["type"] == "c":
            self.counters[name] = self.counters.get(name, 0) + float(found["value"])
        elif found["type"] == "g":
            self.gauges[name] = float(found["value"])

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        # Swallowed, as asyncio reports a handler that was cancelled as an error.
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            async for line in reader:
                self.take(line.decode().rstrip("\n"))
        writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, statsd: Statsd) -> None:
        self._statsd = statsd

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:  # noqa: ARG002 - asyncio's signature
        for line in data.decode().splitlines():
            self._statsd.take(line)
