"""Where a call's CPU goes: microseconds by thread of the service, from what the system counts for each.

What else runs on the machine hardly shows in it, unlike in calls a second.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from rich.table import Table

from bench import distinct, h2load, services
from bench.h2load import Run
from bench.services import Service
from bench.throughput import DESCRIPTORS, UNIT, Start

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

# Below this share of a call a thread is not told.
_SHOWN_MICROSECONDS = 0.3

Figures = dict[str, dict[str, float]]


def measure(variants: Mapping[str, Start], calls: int) -> Figures:
    """Return microseconds a call by variant, keys and descriptors, then by thread; `new` keys come once each."""
    figures: Figures = {}
    for name, start in variants.items():
        with start() as service:
            for descriptors in DESCRIPTORS:
                message = services.request(descriptors)
                load = partial(h2load.throughput, service.url, message, calls=calls)
                figures[_row(name, descriptors)] = _measured(service, load, calls)
                if name != UNIT:
                    fresh = distinct.messages(descriptors, distinct.values("new", calls, descriptors))
                    figures[_row(f"{name}, new keys", descriptors)] = _measured(
                        service, partial(distinct.run, service.url, fresh), calls
                    )
    return figures


def _measured(service: Service, load: Callable[[], Run], calls: int) -> dict[str, float]:
    h2load.throughput(service.url, services.request(1), calls=calls // 4)
    before = _spent(service.pid)
    run = load()
    if run.failed:
        raise RuntimeError(f"{run.failed} of {run.calls} calls failed")
    spent = {who: (now - before.get(who, 0.0)) / calls * 1e6 for who, now in _spent(service.pid).items()}
    return {who: each for who, each in spent.items() if each >= _SHOWN_MICROSECONDS}


def cpu_seconds(pid: int) -> float:
    """Return seconds of CPU of all threads together."""
    return sum(_spent(pid).values())


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
    """Show microseconds by thread, and how many calls fit into one of the server that does nothing."""
    threads = sorted({who for row in figures.values() for who in row})
    shown = Table("threads", *threads, "all", title="CPU µs a call, by thread (nothing ÷ it)")
    for name, row in figures.items():
        total, unit = sum(row.values()), sum(figures[_row(UNIT, int(name.split()[-2]))].values())
        shown.add_row(name, *(f"{row.get(who, 0.0):.1f}" for who in threads), f"{total:.1f} ({unit / total:.2f} ×)")
    return shown


def _row(name: str, descriptors: int) -> str:
    return f"{name}, {descriptors} descriptors"
