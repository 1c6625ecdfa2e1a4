"""Where a call's CPU goes: microseconds by thread of the service, from what the system counts for each."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from rich.table import Table

from bench import h2load, services
from bench.throughput import DESCRIPTORS, Start

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

# Below this share of a call a thread is not told.
_SHOWN_MICROSECONDS = 0.3

Figures = dict[str, dict[str, float]]


def measure(variants: Mapping[str, Start], calls: int) -> Figures:
    """Return microseconds a call by variant and descriptors, then by thread; one hot key."""
    figures: Figures = {}
    for name, start in variants.items():
        with start() as service:
            for descriptors in DESCRIPTORS:
                message = services.request(descriptors)
                h2load.throughput(service.url, message, calls=calls // 4)
                before = _spent(service.pid)
                h2load.throughput(service.url, message, calls=calls)
                spent = {who: (now - before.get(who, 0.0)) / calls * 1e6 for who, now in _spent(service.pid).items()}
                figures[f"{name}, {descriptors} descriptors"] = {
                    who: each for who, each in spent.items() if each >= _SHOWN_MICROSECONDS
                }
    return figures


def _spent(pid: int) -> dict[str, float]:
    """Return seconds of CPU by thread: the event loop, threads of ours (`python`), those of the front."""
    seconds: dict[str, float] = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        name, _, rest = (thread / "stat").read_text().partition("(")[2].rpartition(")")
        fields = rest.split()
        who = "event loop" if thread.name == str(pid) else name
        seconds[who] = seconds.get(who, 0.0) + (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND
    return seconds


def table(figures: Figures) -> Table:
    """Show microseconds by thread."""
    threads = sorted({who for row in figures.values() for who in row})
    shown = Table("threads", *threads, "all", title="CPU µs a call, by thread")
    for name, row in figures.items():
        shown.add_row(name, *(f"{row.get(who, 0.0):.1f}" for who in threads), f"{sum(row.values()):.1f}")
    return shown
