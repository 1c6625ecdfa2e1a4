"""HTTP/2 by hand, for what no gRPC client would send."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.wire.transports import PATH

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
FRAME_BYTES_MAX = 16_384
_READ_BYTES = 1024 * 1024
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@dataclass(frozen=True)
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def frames(data: bytes) -> Iterator[Frame]:
    """Yield the whole frames that data begins with."""
    at = 0
    while len(data) >= at + 9:
        size = int.from_bytes(data[at : at + 3], "big")
        if len(data) < at + 9 + size:
            return
        stream = int.from_bytes(data[at + 5 : at + 9], "big")
        yield Frame(data[at + 3], data[at + 4], stream, data[at + 9 : at + 9 + size])
        at += 9 + size


def hello() -> bytes:
    return PREFACE + frame(SETTINGS)


def header_block(path: str = PATH, more: Iterable[tuple[str, str]] = ()) -> bytes:
    """Write headers of a gRPC call as literals that nobody remembers."""
    pseudo = (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "weir")
    return b"".join(
        _literal(name, value)
        for name, value in (*pseudo, ("content-type", "application/grpc"), ("te", "trailers"), *more)
    )


def message(body: bytes, *, is_compressed: bool = False) -> bytes:
    return struct.pack(">BI", is_compressed, len(body)) + body


def call(stream: int, body: bytes = b"", path: str = PATH) -> bytes:
    """Write a whole unary call."""
    data = frame(DATA, END_STREAM, stream, message(body))
    return frame(HEADERS, END_HEADERS, stream, header_block(path)) + data


def large_call(stream: int, body: bytes, *, is_compressed: bool = False) -> bytes:
    """Write a unary call whose body takes several frames."""
    whole = message(body, is_compressed=is_compressed)
    pieces = [whole[at : at + FRAME_BYTES_MAX] for at in range(0, len(whole), FRAME_BYTES_MAX)]
    data = b"".join(frame(DATA, END_STREAM * (piece is pieces[-1]), stream, piece) for piece in pieces)
    encoding = [("grpc-encoding", "gzip")] if is_compressed else []
    return frame(HEADERS, END_HEADERS, stream, header_block(more=encoding)) + data


def answered(data: bytes) -> list[int]:
    """List the streams whose end is in data, in order."""
    return [one.stream for one in frames(data) if one.kind in (DATA, HEADERS) and one.flags & END_STREAM]


async def until_answered(reader: asyncio.StreamReader, count: int) -> bytes:
    """Read until so many streams have ended."""
    data = b""
    async with asyncio.timeout(30):
        while len(answered(data)) < count:
            piece = await reader.read(_READ_BYTES)
            assert piece, "the connection ended before its answers"
            data += piece
    return data


async def until_seen(reader: asyncio.StreamReader, kind: int) -> bytes:
    """Read until a frame of a kind has come."""
    data = b""
    async with asyncio.timeout(30):
        while not any(one.kind == kind for one in frames(data)):
            piece = await reader.read(_READ_BYTES)
            assert piece, "the connection ended before that"
            data += piece
    return data


async def until_end(reader: asyncio.StreamReader) -> None:
    """Read until there is no more."""
    async with asyncio.timeout(30):
        while await reader.read(_READ_BYTES):
            pass


def _literal(name: str, value: str) -> bytes:
    return b"\0" + _string(name) + _string(value)


def _string(text: str) -> bytes:
    raw = text.encode()
    if len(raw) < 127:
        return bytes((len(raw),)) + raw
    rest, tail = len(raw) - 127, bytearray((127,))
    while rest >= 128:
        tail.append(rest % 128 + 128)
        rest //= 128
    return bytes(tail) + bytes((rest,)) + raw
