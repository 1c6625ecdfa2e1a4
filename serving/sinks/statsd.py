"""Counters to statsd, by TCP or UDP, as differences since the last flush."""

from __future__ import annotations

import asyncio
import logging
import socket

from serving.metrics import Registry
from serving.settings import StatsSettings
from serving.sinks.lines import Dialect

_LOG = logging.getLogger(__name__)
_SEND_SECONDS_MAX = 1.0
_DATAGRAM_BYTES_MAX = 1_400


class StatsdSink:
    """Flushes every STATS_FLUSH_INTERVAL; an address that is away loses what was counted meanwhile."""

    def __init__(self, settings: StatsSettings, registry: Registry, dialect: Dialect, *, is_datagram: bool) -> None:
        self._settings = settings
        self._registry = registry
        self._dialect = dialect
        self._is_datagram = is_datagram
        self._last: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self._flushing: asyncio.Task[None] | None = None
        self._is_away = False

    async def start(self) -> None:
        """Begin to flush."""
        self._flushing = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Flush a last time."""
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.gather(self._flushing, return_exceptions=True)
            await self.flush()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._settings.stats_flush_interval)
            await self.flush()

    async def flush(self) -> None:
        """Send what moved; one warning for each outage."""
        lines = self._lines()
        if not lines:
            return
        try:
            async with asyncio.timeout(_SEND_SECONDS_MAX):
                await (self._send_datagrams(lines) if self._is_datagram else self._send_stream(lines))
            self._is_away = False
        except OSError:
            if not self._is_away:
                _LOG.warning("statsd at %s:%d is away", self._settings.statsd_host, self._settings.statsd_port)
            self._is_away = True

    def _lines(self) -> list[str]:
        lines = []
        for sample in self._registry.samples():
            labels = tuple(sample.labels.items())
            key = (sample.name, labels)
            if sample.kind == "gauge":
                lines.append(self._dialect.line(sample.name, labels, sample.value, "g"))
                continue
            last = self._last.get(key, 0)
            moved = sample.value - last if sample.value >= last else sample.value
            self._last[key] = sample.value
            if moved:
                lines.append(self._dialect.line(sample.name, labels, moved, "c"))
        for name, timer in self._registry.timers.items():
            recent, timer.recent = timer.recent, []
            lines += [self._dialect.line(name, (), seconds * 1000, "ms") for seconds in recent]
        return lines

    async def _send_stream(self, lines: list[str]) -> None:
        _, writer = await asyncio.open_connection(self._settings.statsd_host, self._settings.statsd_port)
        try:
            writer.write("".join(f"{line}\n" for line in lines).encode())
            await writer.drain()
        finally:
            writer.close()
            await writer.wait_closed()

    async def _send_datagrams(self, lines: list[str]) -> None:
        address = (self._settings.statsd_host, self._settings.statsd_port)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            packet = b""
            for line in lines:
                piece = f"{line}\n".encode()
                if len(packet) + len(piece) > _DATAGRAM_BYTES_MAX:
                    sender.sendto(packet, address)
                    packet = b""
                packet += piece
            sender.sendto(packet, address)
