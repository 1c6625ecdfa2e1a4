"""How long a call takes: at fixed rates whatever the answers do (open loop), and alone on one stream.

h2load sends every 10 ms what is due by then: 20 calls at once at 2,000/s. The last of a burst is what p99 tells.
"""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from bench import h2load, services
from bench.throughput import Start, running

RATES = (500, 2_000, 5_000)
SHARES = (0.5, 0.99, 0.999)
LONE = "lone stream"
_LONE_CALLS = 3_000

Figures = dict[str, dict[str, list[float]]]


def measure(variants: Mapping[str, Start], seconds: float) -> Figures:
    """Return p50, p99 and p99.9 in ms, two descriptors, by variant and rate."""
    message = services.request(2)
    figures: Figures = {name: {} for name in variants}
    with running(variants) as up:
        for name, service in up.items():
            h2load.lone(service.url, message, calls=_LONE_CALLS // 3)
            figures[name][LONE] = _shares(h2load.lone(service.url, message, calls=_LONE_CALLS))
        for rate in RATES:
            for name, service in up.items():
                h2load.paced(service.url, message, calls_per_second=rate, seconds=1)
                run = h2load.paced(service.url, message, calls_per_second=rate, seconds=seconds)
                figures[name][f"{rate}/s"] = _shares(run)
    return figures


def _shares(run: h2load.Run) -> list[float]:
    return [run.percentile(share) for share in SHARES]


def table(figures: Figures) -> Table:
    """Show the percentiles."""
    columns = [LONE, *(f"{rate}/s" for rate in RATES)]
    shown = Table("variant", *columns, title="p50 / p99 / p99.9 in ms, two descriptors")
    for name, row in figures.items():
        shown.add_row(name, *(" / ".join(f"{value:.2f}" for value in row[column]) for column in columns))
    return shown
