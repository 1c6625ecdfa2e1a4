"""Calls a second as ratios to the server that does nothing: medians of alternating rounds in one run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager

from rich.table import Table

from bench import distinct, h2load, services
from bench.h2load import Run
from bench.services import Service

DESCRIPTORS = (1, 2, 4)
KEYS = ("hot", "uniform", "zipf", "new")

# What it is called that everything is a ratio to.
UNIT = "nothing"

# A round is as long for a slow variant as for a fast one, about.
_SLOW_SHARE = 5
_CALLS_MIN = 2_000

Start = Callable[[], AbstractContextManager[Service]]
Figures = dict[str, dict[str, float]]


@contextmanager
def running(variants: Mapping[str, Start]) -> Iterator[dict[str, Service]]:
    """Have all variants up at once, idle but for the one under load."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(start()) for name, start in variants.items()}


def measure(variants: Mapping[str, Start], rounds: int, calls: int) -> Figures:
    """Return calls a second by variant and number of descriptors; one hot key."""
    figures: Figures = {name: {} for name in variants}
    with running(variants) as up:
        for descriptors in DESCRIPTORS:
            message = services.request(descriptors)

            def load(service: Service, count: int, _number: int, message: bytes = message) -> Run:
                return h2load.throughput(service.url, message, calls=count)

            _take(figures, str(descriptors), _rounds(up, rounds, calls, load))
        for name, service in up.items():
            figures[name]["resident_mib"] = service.resident_mib
    return figures


def measure_keys(variants: Mapping[str, Start], rounds: int, calls: int, descriptors: int) -> Figures:
    """Return calls a second by variant and by how tenants are chosen; `new` is every plan cold."""
    figures: Figures = {name: {} for name in variants}
    with running(variants) as up:
        for keys in KEYS:

            def load(service: Service, count: int, number: int, keys: str = keys) -> Run:
                tenants = distinct.values(keys, count, number)
                return distinct.run(service.url, distinct.messages(descriptors, tenants))

            _take(figures, keys, _rounds(up, rounds, calls, load))
    return figures


def _rounds(
    up: Mapping[str, Service], rounds: int, calls: int, load: Callable[[Service, int, int], Run]
) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {name: [] for name in up}
    for number in range(rounds + 1):
        for name, service in up.items():
            is_slow = name == UNIT or name.startswith("grpcio")
            run = load(service, max(_CALLS_MIN, calls // (_SLOW_SHARE if is_slow else 1)), number)
            if run.failed:
                raise RuntimeError(f"{name}: {run.failed} of {run.calls} calls failed")
            if number:  # the first warms up
                rates[name].append(run.per_second)
    return rates


def _take(figures: Figures, column: str, rates: Mapping[str, list[float]]) -> None:
    """Keep the medians, and the median of the ratios to the unit, each taken within one round."""
    for name, measured in rates.items():
        figures[name][column] = statistics.median(measured)
        pairs = zip(measured, rates[UNIT], strict=True)
        figures[name][f"{column} ratio"] = statistics.median(mine / unit for mine, unit in pairs)


def table(figures: Figures, title: str) -> Table:
    """Show calls a second and the ratio to the server that does nothing."""
    columns = [name for name in figures[UNIT] if f"{name} ratio" in figures[UNIT]]
    has_memory = "resident_mib" in figures[UNIT]
    heads = [f"{name} descriptors" if name.isdigit() else name for name in columns]
    shown = Table("variant", *heads, *(["MiB"] if has_memory else []), title=title)
    for name, row in figures.items():
        cells = [f"{row[column]:,.0f} ({row[f'{column} ratio']:.2f} ×)" for column in columns]
        shown.add_row(name, *cells, *([f"{row['resident_mib']:.0f}"] if has_memory else []))
    return shown
