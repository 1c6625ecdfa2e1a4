"""Load of which every call may be another message, over HTTP/2 written by hand; h2load sends one message only.

    frames of all calls, ready before the clock starts ──▶ N connections, M streams each ──▶ replies counted

1. Closed loop: as many calls are sent as were answered. Everything that a call costs us is paid before, but for
   finding the ends of streams in what comes back.
2. Header blocks are what a gateway sends: written once, then named by their place in the table of the connection.
"""

from __future__ import annotations

import random
import selectors
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from itertools import accumulate, count
from urllib.parse import urlsplit

from bench import services
from bench.h2load import Run, framed

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_WINDOW = 2**31 - 1

TENANTS = 100_000
ZIPF = 1.1
_PLACE = "t00000000"


def values(keys: str, calls: int, seed: int) -> Iterator[int]:
    """Yield the tenant of each call: always one, evenly over all, by Zipf's law over all, or never one twice."""
    dice = random.Random(seed)
    match keys:
        case "hot":
            return iter([0] * calls)
        case "uniform":
            return iter([dice.randrange(TENANTS) for _ in range(calls)])
        case "zipf":
            weights = list(accumulate(1 / rank**ZIPF for rank in range(1, TENANTS + 1)))
            return iter(dice.choices(range(TENANTS), cum_weights=weights, k=calls))
        case _:
            return iter(range(TENANTS + seed * calls, TENANTS + (seed + 1) * calls))


def messages(descriptors: int, tenants: Iterator[int]) -> list[bytes]:
    """Return a request for each tenant."""
    template = services.request(descriptors, _PLACE)
    return [template.replace(_PLACE.encode(), b"t%08d" % tenant) for tenant in tenants]


def run(url: str, texts: Sequence[bytes], *, connections: int = 4, streams: int = 32) -> Run:
    """Send each message once, and return how long all took."""
    parts = urlsplit(url)
    links = [
        _Link(parts.hostname or "", parts.port or 0, parts.path, texts[number::connections])
        for number in range(connections)
    ]
    with selectors.DefaultSelector() as selector:
        for link in links:
            selector.register(link.socket, selectors.EVENT_READ, link)
        begun = time.perf_counter()
        for link in links:
            link.send(streams)
        while any(not link.is_done for link in links):
            ready = selector.select(timeout=30)
            if not ready:
                raise RuntimeError("the service under load has stopped answering")
            for key, _ in ready:
                key.data.read()
        seconds = time.perf_counter() - begun
    for link in links:
        link.socket.close()
    return Run(len(texts), len(texts) - sum(link.answered for link in links), seconds)


class _Link:
    """One connection and the calls it is to send."""

    def __init__(self, host: str, port: int, path: str, texts: Sequence[bytes]) -> None:
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        settings = struct.pack(">HI", 4, _WINDOW)
        window = struct.pack(">I", _WINDOW - 65_535)
        self.socket.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, settings) + _frame(8, 0, 0, window))
        first, others = _blocks(f"{host}:{port}".encode(), path.encode())
        self._calls = [
            _frame(_HEADERS, _END_HEADERS, stream, first if stream == 1 else others)
            + _frame(_DATA, _END_STREAM, stream, framed(text))
            for stream, text in zip(count(1, 2), texts)
        ]
        self._sent = self._ended = self.answered = 0
        self._rest = b""

    @property
    def is_done(self) -> bool:
        return self._ended >= len(self._calls)

    def send(self, calls: int) -> None:
        """Send so many more, or what is left."""
        self.socket.sendall(b"".join(self._calls[self._sent : self._sent + calls]))
        self._sent += calls

    def read(self) -> None:
        """Take what has come, and send as many calls as have ended."""
        received = self.socket.recv(1 << 18)
        if not received:
            raise RuntimeError("the service under load has hung up")
        data, at, ended = self._rest + received, 0, 0
        size = len(data)
        while size - at >= 9:
            length = int.from_bytes(data[at : at + 3], "big")
            if size - at < 9 + length:
                break
            kind, flags = data[at + 3], data[at + 4]
            if kind == _DATA:
                self.answered += length > 0
                ended += flags & _END_STREAM
            elif kind == _HEADERS:
                ended += flags & _END_STREAM
            else:
                ended += self._control(kind, flags, data[at + 9 : at + 9 + length])
            at += 9 + length
        self._rest = data[at:]
        self._ended += ended
        if ended:
            self.send(ended)

    def _control(self, kind: int, flags: int, payload: bytes) -> int:
        """Answer a frame that is no call's; return how many calls it ended."""
        if kind == _GOAWAY:
            raise RuntimeError("the service under load has sent us away")
        if kind in {_SETTINGS, _PING} and not flags & _ACK:
            self.socket.sendall(_frame(kind, _ACK, 0, payload if kind == _PING else b""))
        return kind == _RESET


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def _blocks(authority: bytes, path: bytes) -> tuple[bytes, bytes]:
    """Return the header block of a connection's first call, which fills its table, and that of the others."""
    named = (b"\x44", path), (b"\x41", authority), (b"\x5f", b"application/grpc"), (b"\x40\x02te", b"trailers")
    first = b"\x83\x86" + b"".join(start + bytes([len(value)]) + value for start, value in named)
    return first, b"\x83\x86\xc1\xc0\xbf\xbe"
