"""One command: throughput, latency and memory of the rate limit service, as ratios in one run."""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import h2load, handler, services

RESULTS = Path(__file__).parent / "results" / "local"
DESCRIPTORS = (1, 2, 4)
RATES = (500, 2_000, 5_000)

Start = Callable[[], Any]


def main() -> None:
    """Measure what was asked for, print tables and keep the figures."""
    options = parse()
    console = Console()
    figures: dict[str, Any] = {"at": datetime.now(UTC).isoformat(), "rounds": options.rounds}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        socket = stack.enter_context(services.redis(folder))
        variants = variants_of(folder, socket, options.transport)
        if "throughput" in options.what:
            figures["throughput"] = throughput(variants, options.rounds, options.calls)
            console.print(throughput_table(figures["throughput"]))
        if "handler" in options.what:
            figures["handler"] = handler.measure(folder, socket, options.rounds)
            console.print(handler.table(figures["handler"]))
        if "latency" in options.what:
            figures["latency"] = latency(variants, options.seconds)
            console.print(latency_table(figures["latency"]))
    RESULTS.mkdir(parents=True, exist_ok=True)
    kept = RESULTS / f"ratelimit-{datetime.now(UTC):%Y%m%dT%H%M%S}.json"
    kept.write_text(json.dumps(figures, indent=1))
    console.print(f"kept in {kept}")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("what", nargs="*", default=["throughput", "latency"], help="throughput, latency, handler")
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds; medians are told")
    parser.add_argument("--calls", type=int, default=40_000, help="calls of a round")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a run at a fixed rate")
    parser.add_argument("--transport", nargs="*", default=["grpcio", "front"], help="grpcio, front")
    return parser.parse_args()


def variants_of(folder: Path, socket: str, transports: list[str]) -> dict[str, Start]:
    """Name what is compared; the server that does nothing comes first."""
    stores = {
        "redis": {"BACKEND_TYPE": "redis", "REDIS_SOCKET_TYPE": "unix", "REDIS_URL": socket},
        "memory": {"BACKEND_TYPE": "memory"},
    }
    variants: dict[str, Start] = {"nothing": services.nothing}
    for transport in transports:
        for store, env in stores.items():
            settings = {**env, "TRANSPORT": transport}
            variants[f"{transport}, {store}"] = lambda settings=settings: services.ratelimit(folder, settings)
    return variants


@contextmanager
def running(variants: dict[str, Start]) -> Iterator[dict[str, services.Service]]:
    """Have all variants up at once, idle but for the one under load."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(start()) for name, start in variants.items()}


def throughput(variants: dict[str, Start], rounds: int, calls: int) -> dict[str, dict[str, float]]:
    """Return the median of alternating rounds, in calls a second, by variant and number of descriptors."""
    figures: dict[str, dict[str, float]] = {name: {} for name in variants}
    with running(variants) as up:
        for descriptors in DESCRIPTORS:
            message = services.request(descriptors)
            rates: dict[str, list[float]] = {name: [] for name in up}
            for number in range(rounds + 1):
                for name, service in up.items():
                    share = 5 if name == "nothing" or "grpcio" in name else 1
                    run = h2load.throughput(service.url, message, calls=max(2_000, calls // share))
                    if number:  # the first warms up
                        rates[name].append(run.per_second)
            for name, measured in rates.items():
                figures[name][str(descriptors)] = statistics.median(measured)
        for name, service in up.items():
            figures[name]["resident_mib"] = service.resident_mib
    return figures


def throughput_table(figures: dict[str, dict[str, float]]) -> Table:
    """Show calls a second and the ratio to the server that does nothing."""
    table = Table(
        "variant", *(f"{count} descriptors" for count in DESCRIPTORS), "MiB", title="calls a second (× nothing)"
    )
    for name, row in figures.items():
        cells = [f"{row[str(n)]:,.0f} ({row[str(n)] / figures['nothing'][str(n)]:.2f} ×)" for n in DESCRIPTORS]
        table.add_row(name, *cells, f"{row['resident_mib']:.0f}")
    return table


def latency(variants: dict[str, Start], seconds: float) -> dict[str, dict[str, list[float]]]:
    """Return p50, p99 and p99.9 in ms at fixed rates, two descriptors."""
    message = services.request(2)
    figures: dict[str, dict[str, list[float]]] = {name: {} for name in variants}
    with running(variants) as up:
        for rate in RATES:
            for name, service in up.items():
                h2load.paced(service.url, message, calls_per_second=rate, seconds=1)
                run = h2load.paced(service.url, message, calls_per_second=rate, seconds=seconds)
                figures[name][str(rate)] = [run.percentile(share) for share in (0.5, 0.99, 0.999)]
    return figures


def latency_table(figures: dict[str, dict[str, list[float]]]) -> Table:
    """Show the percentiles."""
    table = Table("variant", *(f"{rate}/s" for rate in RATES), title="p50 / p99 / p99.9 in ms, open loop")
    for name, row in figures.items():
        table.add_row(name, *(" / ".join(f"{value:.2f}" for value in row[str(rate)]) for rate in RATES))
    return table


if __name__ == "__main__":
    main()
