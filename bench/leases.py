"""What `lease` is worth: hot keys with it and without, where Redis is near, and where it is a millisecond away.

Alternating rounds on one service for each distance. Callers wait for their answer before they ask again, and each asks for a
key of its own, so that calls come in small batches: what a lease saves is the round trip that each of them waits for.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.table import Table

from bench import distinct, h2load, modes, services
from bench.h2load import Run
from bench.services import Service

DISTANCES_MS = (0, 1, 2)
CALLERS = (1, 8)
_MODES = ("plain", "lease")

Figures = dict[str, dict[str, float]]


@contextmanager
def away(folder: Path, socket: str, milliseconds: float) -> Iterator[str]:
    """Yield a Unix socket that leads to a Redis, so far away."""
    if not milliseconds:
        yield socket
        return
    path = folder / f"{milliseconds}ms.sock"
    with services.process(services.REDIS_CORE, _command(path, socket, milliseconds)):
        services.wait_for(path.exists)
        yield str(path)


def _command(path: Path, socket: str, milliseconds: float) -> list[str]:
    return [sys.executable, "-m", "bench.distance", str(path), socket, str(milliseconds)]


def measure(service: Service, socket: str, rounds: int, calls: int) -> Figures:
    """Return the figures of both modes, for each number of callers."""
    return {
        f"{mode}, {callers}": row
        for callers in CALLERS
        for mode, row in _compare(service, socket, rounds, calls, callers).items()
    }


def _compare(service: Service, socket: str, rounds: int, calls: int, callers: int) -> Figures:
    rates: dict[str, list[float]] = {mode: [] for mode in _MODES}
    asked: dict[str, list[float]] = {mode: [] for mode in _MODES}
    for number in range(rounds + 1):
        for mode in _MODES:
            before = modes.commands(socket)
            run = _load(service, mode, calls, callers)
            if run.failed:
                raise RuntimeError(f"{mode}: {run.failed} of {run.calls} calls failed")
            if number:  # the first warms up
                rates[mode].append(run.per_second)
                asked[mode].append((modes.commands(socket) - before) / run.calls)
    return {
        mode: {
            "per_second": statistics.median(rates[mode]),
            "ratio": statistics.median(a / b for a, b in zip(rates[mode], rates["plain"], strict=True)),
            "redis_calls": statistics.median(asked[mode]),
            "lone_ms": h2load.lone(service.url, modes.message(mode), calls=calls // 10).percentile(0.5),
        }
        for mode in _MODES
    }


def _load(service: Service, mode: str, calls: int, callers: int) -> Run:
    # Dealt out in turn, so that each caller has a key of its own.
    keys = [modes.message(mode, value=f"value{number}") for number in range(callers)]
    return distinct.run(service.url, keys * (calls // callers), connections=callers, streams=1)


def table(figures: dict[str, Figures]) -> Table:
    """Show them by distance."""
    shown = Table(
        "Redis", "mode, callers", "calls a second", "× plain", "Redis calls a decision", "lone p50 ms", title="leases"
    )
    for distance, rows in figures.items():
        for name, row in rows.items():
            shown.add_row(
                distance,
                name,
                f"{row['per_second']:,.0f}",
                f"{row['ratio']:.2f}",
                f"{row['redis_calls']:.3f}",
                f"{row['lone_ms']:.2f}",
            )
    return shown
