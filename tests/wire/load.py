"""Load over one connection, by hand: calls that are alike, as many as wanted, and how many were answered well."""

from __future__ import annotations

import asyncio
import ssl
from typing import Self

from tests.wire import http2

# More than all answers of a test.
_WINDOW_BYTES = 2**30
_HEADER_BYTES = 9


class Load(asyncio.Protocol):
    """One connection; an answer without a message is a failure."""

    def __init__(self, message: bytes) -> None:
        self._headers = http2.frame(http2.HEADERS, http2.END_HEADERS, 0, http2.header_block())
        self._data = http2.frame(http2.DATA, http2.END_STREAM, 0, http2.message(message))
        self._stream = 1
        self._rest = b""
        self._transport: asyncio.Transport | None = None
        self._moved = asyncio.Event()
        self.sent = 0
        self.answered = 0
        self.messages = 0

    @classmethod
    async def open(cls, port: int, message: bytes, context: ssl.SSLContext | None = None) -> Self:
        loop = asyncio.get_running_loop()
        _, load = await loop.create_connection(lambda: cls(message), "127.0.0.1", port, ssl=context)
        return load

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        window = http2.frame(http2.WINDOW_UPDATE, payload=_WINDOW_BYTES.to_bytes(4, "big"))
        transport.write(http2.hello() + http2.frame(http2.SETTINGS, http2.ACK) + window)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        at, end = 0, len(data)
        while end - at >= _HEADER_BYTES:
            after = at + _HEADER_BYTES + int.from_bytes(data[at : at + 3], "big")
            if after > end:
                break
            kind, flags = data[at + 3], data[at + 4]
            if kind == http2.DATA:
                self.messages += 1
            elif kind == http2.RST_STREAM or (kind == http2.HEADERS and flags & http2.END_STREAM):
                self.answered += 1
            elif kind == http2.PING and not flags:
                self._write(http2.frame(http2.PING, http2.ACK, 0, data[at + _HEADER_BYTES : after]))
            at = after
        self._rest = data[at:]
        self._moved.set()

    @property
    def waiting(self) -> int:
        return self.sent - self.answered

    @property
    def failed(self) -> int:
        return self.answered - self.messages

    def ask(self, count: int) -> None:
        """Send so many calls."""
        headers, data, calls = self._headers, self._data, []
        for stream in range(self._stream, self._stream + 2 * count, 2):
            name = stream.to_bytes(4, "big")
            calls += [headers[:5], name, headers[9:], data[:5], name, data[9:]]
        self._stream += 2 * count
        self.sent += count
        self._write(b"".join(calls))

    async def until_waiting(self, count: int) -> None:
        """Wait until no more calls than this are unanswered."""
        async with asyncio.timeout(30):
            while self.waiting > count:
                self._moved.clear()
                await self._moved.wait()

    def pause(self) -> None:
        """Read no answers any more."""
        assert self._transport is not None
        self._transport.pause_reading()

    def leave(self) -> None:
        """End the connection as it is."""
        assert self._transport is not None
        self._transport.abort()

    def _write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)
