"""Calls for each second of CPU that the service spends, by number of workers; load and Redis share the machine."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping
from pathlib import Path

from rich.table import Table

from bench import h2load, services
from bench.services import Service

WORKERS = (1, 2)
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

# More connections than workers many times over: the system deals them out by chance.
_CONNECTIONS = 32
_STREAMS = 4

Figures = dict[str, dict[str, float]]


def measure(folder: Path, env: Mapping[str, str], rounds: int, calls: int) -> Figures:
    """Return calls for a second of CPU and calls a second, as medians; two descriptors, on all cores."""
    message = services.request(2)
    figures: Figures = {}
    for workers in WORKERS:
        settings = {**env, "WORKERS": str(workers)}
        with services.ratelimit(folder, settings, core=services.ALL_CORES) as service:
            by_cpu, by_time = [], []
            for number in range(rounds + 1):
                spent = cpu_seconds(service)
                run = h2load.throughput(service.url, message, calls=calls, connections=_CONNECTIONS, streams=_STREAMS)
                if number:  # the first warms up
                    by_cpu.append(run.calls / (cpu_seconds(service) - spent))
                    by_time.append(run.per_second)
            figures[str(workers)] = {"cpu": statistics.median(by_cpu), "time": statistics.median(by_time)}
    return figures


def cpu_seconds(service: Service) -> float:
    """Return the CPU time of a process and its children."""
    children = Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split()
    return sum(_cpu_seconds(pid) for pid in (service.pid, *map(int, children)))


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


def table(figures: Figures) -> Table:
    """Show both rates."""
    shown = Table("workers", "calls a CPU-second", "calls a second", title="workers, two descriptors, over Redis")
    for workers, row in figures.items():
        shown.add_row(workers, f"{row['cpu']:,.0f}", f"{row['time']:,.0f}")
    return shown
