"""The handler alone, in this process and without a transport: CPU microseconds for each call, by size of batch."""

from __future__ import annotations

import asyncio
import math
import os
import statistics
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import uvloop
from rich.table import Table

from bench import services
from ratelimit import settings
from ratelimit.app import Service
from serving import collector
from serving.calls import Call, Caller
from serving.clock import SystemClock

BATCHES = (1, 16, 64, 256)
CALLS = 10_240
DESCRIPTORS = (1, 2, 4)


def measure(folder: Path, socket: str, rounds: int) -> dict[str, dict[str, float]]:
    """Return the median by store, keys and descriptors, then by size of batch."""
    figures: dict[str, dict[str, float]] = {}
    collector.settle()
    os.environ |= services.environment(folder)
    for store in ("memory", "redis"):
        os.environ |= services.stores(socket)[store]
        for keys in ("hot", "cold"):
            for descriptors in DESCRIPTORS:
                row = f"{store}, {keys}, {descriptors} descriptors"
                figures[row] = uvloop.run(_row(descriptors, rounds, is_hot=keys == "hot"))
    return figures


async def _row(descriptors: int, rounds: int, *, is_hot: bool) -> dict[str, float]:
    service = Service(settings.load(), SystemClock())
    await service.store.start()
    await service.source.start()
    fresh = (services.request(descriptors, f"value{0 if is_hot else number}") for number in count())
    figures: dict[str, list[float]] = {str(size): [] for size in BATCHES}
    for number in range(rounds + 1):
        for size in BATCHES:
            microseconds = await _round(service, fresh, size)
            if number:  # the first warms up
                figures[str(size)].append(microseconds)
    await service.source.stop()
    await service.store.stop()
    return {size: statistics.median(measured) for size, measured in figures.items()}


async def _round(service: Service, messages: Iterator[bytes], size: int) -> float:
    caller = Caller("bench")
    calls = CALLS if size > 1 else CALLS // 4
    batches = [[Call(next(messages), math.inf, caller) for _ in range(size)] for _ in range(calls // size)]
    begun = time.process_time()
    for batch in batches:
        replies = await service.rls.should_rate_limit(batch)
        await asyncio.sleep(0)
    spent = time.process_time() - begun
    if not all(isinstance(reply, bytes) for reply in replies):
        raise RuntimeError(f"the handler failed: {replies[0]!r}")
    return spent / (size * len(batches)) * 1e6


def table(figures: dict[str, dict[str, float]]) -> Table:
    """Show microseconds by row and size of batch."""
    shown = Table("handler", *(f"batch of {size}" for size in BATCHES), title="CPU µs a call, without a transport")
    for name, row in figures.items():
        shown.add_row(name, *(f"{row[str(size)]:.1f}" for size in BATCHES))
    return shown
