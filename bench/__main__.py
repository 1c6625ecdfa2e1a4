"""One command: throughput, latency and memory of the rate limit service, as ratios in one run.

    python -m bench                     everything, medians of five alternating rounds: some twenty minutes
    python -m bench --short             the same in a few minutes, for a first look
    python -m bench throughput tls      parts of it
    python -m bench latency --er FILE   with envoyproxy/ratelimit beside it, whose binary that file is

The service has one core, load and Redis the other. Tables are printed; the figures are kept as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import handler, latency, leases, memory, modes, services, threads, throughput, workers
from bench.throughput import Start

RESULTS = Path(__file__).parent / "results" / "local"


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    rounds: int
    calls: int
    seconds: float
    memory_calls: int


FULL = Size(rounds=5, calls=60_000, seconds=3.0, memory_calls=1_000_000)
SHORT = Size(rounds=3, calls=15_000, seconds=1.0, memory_calls=50_000)


class Bench:
    """The parts, by name."""

    def __init__(self, folder: Path, socket: str, size: Size, transports: list[str], er: Path | None) -> None:
        self._folder = folder
        self._socket = socket
        self._size = size
        self._transports = transports
        self._er = er
        self.figures: dict[str, Any] = {}

    def parts(self) -> dict[str, Callable[[], list[Table]]]:
        """Return what there is to measure, in its order."""
        return {
            "throughput": self._throughput,
            "tls": self._tls,
            "keys": self._keys,
            "latency": self._latency,
            "memory": self._memory,
            "workers": self._workers,
            "threads": self._threads,
            "handler": self._handler,
            "modes": self._modes,
            "leases": self._leases,
        }

    def _throughput(self) -> list[Table]:
        variants = {**_yardsticks(), **self._services("redis", "memory")}
        figures = self.figures["throughput"] = throughput.measure(variants, self._size.rounds, self._size.calls)
        return [throughput.table(figures, "calls a second (× nothing), one hot key")]

    def _tls(self) -> list[Table]:
        variants = {throughput.UNIT: services.nothing, **self._services("redis")}
        secret = services.tls(self._folder)
        variants |= {f"{name}, TLS": start for name, start in self._services("redis", **secret).items()}
        figures = self.figures["tls"] = throughput.measure(variants, self._size.rounds, self._size.calls)
        return [throughput.table(figures, "calls a second (× nothing), one hot key, plain and TLS")]

    def _keys(self) -> list[Table]:
        variants = {throughput.UNIT: services.nothing, **self._services("redis", "memory")}
        figures = self.figures["keys"] = {
            str(descriptors): throughput.measure_keys(variants, self._size.rounds, self._size.calls, descriptors)
            for descriptors in (1, 2)
        }
        title = "calls a second (× nothing), 100,000 tenants; new: never one twice; descriptors: "
        return [throughput.table(rows, title + descriptors) for descriptors, rows in figures.items()]

    def _latency(self) -> list[Table]:
        variants = {**_yardsticks(), **self._services("redis", "memory")}
        self.figures["latency"] = latency.measure(variants, self._size.rounds, self._size.seconds)
        return [latency.table(self.figures["latency"])]

    def _memory(self) -> list[Table]:
        calls = self._size.memory_calls
        self.figures["memory"] = memory.measure(self._services("redis", "memory"), calls)
        return [memory.table(self.figures["memory"], calls)]

    def _workers(self) -> list[Table]:
        env = {**services.stores(self._socket)["redis"], "TRANSPORT": self._transports[-1]}
        figures = self.figures["workers"] = workers.measure(self._folder, env, self._size.rounds, self._size.calls)
        return [workers.table(figures)]

    def _threads(self) -> list[Table]:
        variants = {throughput.UNIT: services.nothing, **self._services("redis", "memory")}
        figures = self.figures["threads"] = threads.measure(variants, self._size.calls)
        return [threads.table(figures)]

    def _handler(self) -> list[Table]:
        figures = self.figures["handler"] = handler.measure(self._folder, self._socket, self._size.rounds)
        return [handler.table(figures)]

    def _modes(self) -> list[Table]:
        env = {**services.stores(self._socket)["redis"], "TRANSPORT": self._transports[-1]}
        services.environment(self._folder)
        modes.write_rules(self._folder)
        modes.put_limits(self._socket)
        with services.ratelimit(self._folder, env) as service:
            figures = self.figures["modes"] = modes.measure(
                service, self._socket, self._size.rounds, self._size.calls // 2
            )
        return [modes.table(figures)]

    def _leases(self) -> list[Table]:
        services.environment(self._folder)
        modes.write_rules(self._folder)
        figures = self.figures["leases"] = {}
        for distance in leases.DISTANCES_MS:
            with leases.away(self._folder, self._socket, distance) as socket:
                env = {**services.stores(socket)["redis"], "TRANSPORT": self._transports[-1]}
                with services.ratelimit(self._folder, env) as service:
                    calls = self._size.calls // 10
                    row = leases.measure(service, self._socket, self._size.rounds, calls)
            figures["near" if not distance else f"{distance} ms away"] = row
        return [leases.table(figures)]

    def _services(self, *stores: str, **env: str) -> dict[str, Start]:
        """Return the service by transport and store, and ER, where it is asked for and counts there."""
        places = services.stores(self._socket)
        found: dict[str, Start] = {
            f"{transport}, {store}": partial(
                services.ratelimit, self._folder, {**places[store], "TRANSPORT": transport, **env}
            )
            for transport in self._transports
            for store in stores
        }
        if self._er and "redis" in stores:
            found["ER, redis"] = partial(services.ratelimit, self._folder, {**places["redis"], **env}, er=self._er)
        return found


def _yardsticks() -> dict[str, Start]:
    return {throughput.UNIT: services.nothing, "nothing, front": partial(services.nothing, "front")}


def main() -> None:
    """Measure what was asked for, print tables and keep the figures."""
    options = _parse()
    size = SHORT if options.short else FULL
    size = Size(
        options.rounds or size.rounds, options.calls or size.calls, options.seconds or size.seconds,
        options.memory_calls or size.memory_calls,
    )  # fmt: skip
    # Ourselves too: what we do between two rounds, and the load of distinct keys, is not the service's.
    os.sched_setaffinity(0, {int(services.LOAD_CORE)})
    console = Console()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        socket = stack.enter_context(services.redis(Path(name)))
        bench = Bench(Path(name), socket, size, options.transport, options.er)
        for part, measure in bench.parts().items():
            if not options.parts or part in options.parts:
                console.print(*measure())
        _keep(bench.figures, size, console)


def _keep(figures: dict[str, Any], size: Size, console: Console) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    kept = RESULTS / f"ratelimit-{now:%Y%m%dT%H%M%S}.json"
    kept.write_text(
        json.dumps({"at": now.isoformat(), "rounds": size.rounds, "calls": size.calls, **figures}, indent=1)
    )
    console.print(f"kept in {kept}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ["throughput", "tls", "keys", "latency", "memory", "workers", "threads", "handler", "modes", "leases"]
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(names)}; all where none is named")
    parser.add_argument("--short", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--rounds", type=int, help="alternating rounds; medians are told")
    parser.add_argument("--calls", type=int, help="calls of a round")
    parser.add_argument("--seconds", type=float, help="length of a run at a fixed rate")
    parser.add_argument("--memory-calls", type=int, help="calls before memory is read")
    parser.add_argument("--transport", nargs="+", default=["grpcio", "front"], help="grpcio, front")
    parser.add_argument("--er", type=Path, help="the binary of envoyproxy/ratelimit, to be measured beside ours")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(names):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return options


if __name__ == "__main__":
    main()
