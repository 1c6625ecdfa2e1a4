"""Where lines go: to a statsd by TCP or UDP, or to the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

_LOG = logging.getLogger(__name__)

# Fits an Ethernet frame, as statsd servers advise.
_DATAGRAM_BYTES_MAX = 1_400

# What one flush may write into the log; the rest is counted.
_LOGGED_MAX = 1_000


class Sender(Protocol):
    """Takes the lines of one flush."""

    async def send(self, lines: Sequence[str]) -> None:
        """Send all of them.

        Raises:
            OSError: nobody takes them.
        """


@dataclass(frozen=True, slots=True)
class Stream:
    """A statsd over TCP; a connection for each flush."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"statsd at {self.host}:{self.port}"

    async def send(self, lines: Sequence[str]) -> None:
        """Send all of them, a line each."""
        _, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write("".join(f"{line}\n" for line in lines).encode())
            await writer.drain()
        finally:
            writer.close()
            await writer.wait_closed()


@dataclass(frozen=True, slots=True)
class Datagrams:
    """A statsd over UDP."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"statsd at {self.host}:{self.port}"

    async def send(self, lines: Sequence[str]) -> None:
        """Send all of them, as many in a datagram as fit."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=(self.host, self.port))
        try:
            for packet in packets(lines):
                transport.sendto(packet)
        finally:
            transport.close()


def packets(lines: Sequence[str]) -> Iterator[bytes]:
    """Put lines together; one that fits no packet goes alone."""
    packet = b""
    for line in lines:
        piece = f"{line}\n".encode()
        if packet and len(packet) + len(piece) > _DATAGRAM_BYTES_MAX:
            yield packet
            packet = b""
        packet += piece
    if packet:
        yield packet


class Log:
    """The log, at INFO: where numbers go if no sink was chosen, as the reference's."""

    def __str__(self) -> str:
        return "the log"

    async def send(self, lines: Sequence[str]) -> None:
        """Write all of them, up to a bound."""
        for line in lines[:_LOGGED_MAX]:
            _LOG.info("%s", line)
        if len(lines) > _LOGGED_MAX:
            _LOG.info("and %d more", len(lines) - _LOGGED_MAX)
