"""How long a call takes: at fixed rates whatever the answers do (open loop), and alone on one stream; medians of rounds.

h2load sends every 10 ms what is due by then: 20 calls at once at 2,000/s. The last of a burst is what p99 tells.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from functools import partial

from rich.table import Table

from bench import h2load, services
from bench.throughput import Start, running

RATES = (500, 2_000, 5_000)
SHARES = (0.5, 0.99, 0.999)
LONE = "lone stream"
_LONE_CALLS = 1_000

Figures = dict[str, dict[str, list[float]]]


def measure(variants: Mapping[str, Start], rounds: int, seconds: float) -> Figures:
    """Return p50, p99 and p99.9 in ms, two descriptors, by variant and rate: of each the median of alternating rounds."""
    message = services.request(2)
    loads = {LONE: partial(h2load.lone, message=message, calls=_LONE_CALLS)} | {
        f"{rate}/s": partial(h2load.paced, message=message, calls_per_second=rate, seconds=seconds) for rate in RATES
    }
    figures: Figures = {name: {} for name in variants}
    with running(variants) as up:
        for column, load in loads.items():
            runs: dict[str, list[h2load.Run]] = {name: [] for name in up}
            for number in range(rounds + 1):
                for name, service in up.items():
                    run = load(service.url)
                    if number:  # the first warms up
                        runs[name].append(run)
            for name, each in runs.items():
                figures[name][column] = [statistics.median(run.percentile(share) for run in each) for share in SHARES]
    return figures


def table(figures: Figures) -> Table:
    """Show the percentiles."""
    columns = [LONE, *(f"{rate}/s" for rate in RATES)]
    shown = Table("variant", *columns, title="p50 / p99 / p99.9 in ms, two descriptors")
    for name, row in figures.items():
        shown.add_row(name, *(" / ".join(f"{value:.2f}" for value in row[column]) for column in columns))
    return shown
