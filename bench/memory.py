"""Resident memory of the service after many calls: all on one key, then each on another."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from bench import distinct, h2load, services
from bench.throughput import Start

_CHUNK = 50_000

Figures = dict[str, dict[str, float]]


def measure(variants: Mapping[str, Start], calls: int) -> Figures:
    """Return MiB by variant: at the start, after so many calls on one key, after as many on distinct ones."""
    figures: Figures = {}
    for name, start in variants.items():
        with start() as service:
            row = figures[name] = {"start": service.resident_mib}
            h2load.throughput(service.url, services.request(1), calls=calls)
            row["one key"] = service.resident_mib
            for number in range(calls // _CHUNK):
                tenants = distinct.values("new", _CHUNK, number)
                distinct.run(service.url, distinct.messages(1, tenants))
            row["distinct keys"] = service.resident_mib
    return figures


def table(figures: Figures, calls: int) -> Table:
    """Show MiB."""
    shown = Table("variant", "start", "one key", "distinct keys", title=f"resident MiB after {calls:,} calls each")
    for name, row in figures.items():
        shown.add_row(name, *(f"{row[column]:.0f}" for column in ("start", "one key", "distinct keys")))
    return shown
