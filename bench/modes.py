"""What our own modes cost: each as a ratio to the plain fixed window, by alternating rounds on one service.

`ceiling` is a plain rule with 10,000 dynamic limits, one of them on the descriptor that is asked for.
`reserve` is two calls of every request, a check that holds and a charge that settles, and is compared with the same two
calls of a plain rule: `calls` sends them in turn, `pair` as two descriptors of one message, where each costs least.

`lease` also tells how often Redis was asked for a decision, before and after: calls arrive in batches, and a batch
asks once, so what a lease saves shows best where calls come one by one, and where Redis is far: `bench.leases`.

CPU a call is the sum of the service and of Redis, by what the system counts for them: it tells modes apart also where other
things run on the machine, as calls a second do not.
"""

from __future__ import annotations

import asyncio
import math
import statistics
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr
from rich.table import Table

from bench import distinct, h2load
from bench.h2load import Run
from bench.services import Service
from bench.threads import cpu_seconds
from protos.interop.rls.v1 import rls_pb2
from ratelimit.dynamic_limit import Place
from ratelimit.limits import Limit, Unit
from ratelimit.stores.redis_limits import RedisLimits
from serving.clock import SystemClock
from serving.metrics import Registry
from serving.redis_client import RedisClient
from serving.settings import RedisSettings

# Large enough that nothing is refused, and that a refused call is not what is measured.
_LIMIT = 9_000_000_000_000
_DYNAMIC_LIMITS = 10_000
RULES = f"""\
domain: modes
descriptors:
  - {{key: plain, rate_limit: {{unit: hour, requests_per_unit: 4000000000}}}}
  - {{key: ceiling, rate_limit: {{unit: hour, requests_per_unit: 1, ceiling: {_LIMIT}}}}}
  - {{key: keep, rate_limit: {{unit: hour, amount: {_LIMIT}, on_deny: keep}}}}
  - {{key: window, rate_limit: {{window: 5h, amount: {_LIMIT}}}}}
  - {{key: sliding, rate_limit: {{unit: hour, amount: {_LIMIT}, algorithm: sliding_window}}}}
  - {{key: bucket, rate_limit: {{unit: hour, amount: {_LIMIT}, algorithm: token_bucket}}}}
  - {{key: reserve, rate_limit: {{unit: hour, amount: {_LIMIT}, reserve: {{ttl: 60s, default: 100}}}}}}
  - {{key: lease, rate_limit: {{unit: hour, amount: {_LIMIT}, lease: {{ttl: 1s, max_fraction: 0.001}}}}}}
"""

ONE = ("plain", "ceiling", "keep", "window", "sliding", "bucket", "lease")
"""One descriptor that spends one."""
PAIR = ("plain pair", "reserve pair")
"""Two descriptors on one counter, 0 hits and some: for `reserve` a check that holds, and the charge that settles it."""
CALLS = ("plain calls", "reserve calls")
"""The same two as calls that follow each other, as Envoy sends them."""
_UNITS = {mode: row[0] for row in (ONE, PAIR, CALLS) for mode in row}
_CHECK, _CHARGE = 0, 5

Figures = dict[str, dict[str, float]]


def message(mode: str, *hits: int, value: str = "value") -> bytes:
    """Return a request of a mode, with a descriptor for each of `hits`; by default what its load sends."""
    request = rls_pb2.RateLimitRequest(domain="modes")
    for each in hits or ((_CHECK, _CHARGE) if mode in PAIR else (1,)):
        descriptor = request.descriptors.add()
        descriptor.hits_addend.value = each
        descriptor.entries.add(key=mode.split(maxsplit=1)[0], value=value)
    return request.SerializeToString()


def _load(service: Service, mode: str, calls: int) -> Run:
    if mode in CALLS:
        return distinct.run(service.url, [message(mode, _CHECK), message(mode, _CHARGE)] * (calls // 2))
    return h2load.throughput(service.url, message(mode), calls=calls)


@dataclass(slots=True)
class _Measured:
    """Every round of a mode."""

    rates: list[float] = field(default_factory=list)
    service_us: list[float] = field(default_factory=list)
    redis_us: list[float] = field(default_factory=list)

    def figures(self, unit: _Measured) -> dict[str, float]:
        """Return the medians, and those of the ratios to the same rounds of a unit; of CPU, more is worse."""
        mine, its = ([a + b for a, b in zip(each.service_us, each.redis_us, strict=True)] for each in (self, unit))
        return {
            "per_second": statistics.median(self.rates),
            "ratio": statistics.median(a / b for a, b in zip(self.rates, unit.rates, strict=True)),
            "service_us": statistics.median(self.service_us),
            "redis_us": statistics.median(self.redis_us),
            "cpu_ratio": statistics.median(b / a for a, b in zip(mine, its, strict=True)),
        }


def measure(service: Service, socket: str, rounds: int, calls: int) -> Figures:
    """Return calls a second of every mode, CPU a call, its ratios to plain, and questions to Redis for each decision."""
    measured = {mode: _Measured() for mode in _UNITS}
    for number in range(rounds + 1):
        for mode, mine in measured.items():
            before = cpu_seconds(service.pid), _redis_seconds(socket)
            run = _load(service, mode, calls)
            after = cpu_seconds(service.pid), _redis_seconds(socket)
            if run.failed:
                raise RuntimeError(f"{mode}: {run.failed} of {run.calls} calls failed")
            if number:  # the first warms up
                mine.rates.append(run.per_second)
                mine.service_us.append((after[0] - before[0]) / run.calls * 1e6)
                mine.redis_us.append((after[1] - before[1]) / run.calls * 1e6)
    figures = {mode: mine.figures(measured[_UNITS[mode]]) for mode, mine in measured.items()}
    for mode in ("plain", "lease"):
        figures[mode]["redis_calls"] = _asked(service, socket, mode, calls // 10)
        figures[mode]["lone_ms"] = h2load.lone(service.url, message(mode), calls=calls // 10).percentile(0.5)
    return figures


def _asked(service: Service, socket: str, mode: str, calls: int) -> float:
    """Return how often Redis is asked for each of calls that come one by one."""
    before = commands(socket)
    run: Run = h2load.lone(service.url, message(mode), calls=calls)
    return (commands(socket) - before) / run.calls


def commands(socket: str) -> int:
    """Return how many script calls a Redis has answered."""
    lines = [line for line in _info(socket, "commandstats") if line.startswith("cmdstat_evalsha:")]
    return sum(int(line.split("calls=")[1].split(",")[0]) for line in lines)


def _redis_seconds(socket: str) -> float:
    """Return the CPU that a Redis has spent."""
    lines = [line for line in _info(socket, "cpu") if line.startswith(("used_cpu_user:", "used_cpu_sys:"))]
    return sum(float(line.split(":")[1]) for line in lines)


def _info(socket: str, section: str) -> list[str]:
    command = ["redis-cli", "-s", socket, "INFO", section]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def write_rules(folder: Path) -> None:
    """Put the rules beside those of the other parts."""
    (folder / "rules" / "config" / "modes.yaml").write_text(RULES)


def put_limits(socket: str) -> None:
    """Have dynamic limits in force, `value`'s last."""

    async def put() -> None:
        redis = RedisSettings(url=SecretStr(socket), socket_type="unix")
        limits = RedisLimits(lambda: RedisClient(redis, Registry(), SystemClock()), limits_max=_DYNAMIC_LIMITS)
        for value in [*(f"value{number}" for number in range(1, _DYNAMIC_LIMITS)), "value"]:
            name = Place.of("modes", (("ceiling", value),), Limit(1, Unit.HOUR)).name
            await limits.put(name, _LIMIT, ttl_ms=0, expected_version=None, deadline=math.inf)
        await limits.stop()

    asyncio.run(put())


def table(figures: Figures) -> Table:
    """Show ratios to the plain fixed window."""
    shown = Table(
        "mode", "calls a second", "× plain", "CPU µs a call: service", "Redis", "× plain", "Redis calls a decision",
        "lone p50 ms", title="our own modes, Redis",
    )  # fmt: skip
    for mode, row in figures.items():
        shown.add_row(
            mode,
            f"{row['per_second']:,.0f}",
            f"{row['ratio']:.2f}",
            f"{row['service_us']:.1f}",
            f"{row['redis_us']:.1f}",
            f"{row['cpu_ratio']:.2f}",
            f"{row['redis_calls']:.3f}" if "redis_calls" in row else "",
            f"{row['lone_ms']:.2f}" if "lone_ms" in row else "",
        )
    return shown
