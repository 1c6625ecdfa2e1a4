"""What a runner can reach of the server under test; what it cannot reach is None."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import redis

from serving.clock import Clock, SystemClock
from tests.conformance.background import Background
from tests.conformance.client import Client
from tests.conformance.relay import Relay
from tests.conformance.suites import Scenario
from tests.conformance.tree import Folder
from tests.fakes.statsd import Statsd

# Twice the interval at which the server sends its counters, which the runner sets to 200 ms.
SETTLE_SECONDS = 0.4
POLL_SECONDS = 0.02

Store: TypeAlias = "redis.Redis"


@dataclass
class Target:
    client: Client
    main: str | None = None
    """Address of the HTTP port."""
    debug: str | None = None
    """Address of the debug port."""
    metrics: str | None = None
    """Address of the Prometheus page."""
    stores: Mapping[str, Store] = field(default_factory=dict)
    """`main` and `per_second`."""
    statsd: Statsd | None = None
    folder: Folder | None = None
    link: Relay | None = None
    background: Background | None = None
    read_log: Callable[[], str] | None = None
    has_ended: Callable[[], bool] = lambda: False
    pid: int | None = None
    clock: Clock = field(default_factory=SystemClock)

    def wait_for(self, is_so: Callable[[], bool], bound_seconds: float) -> bool:
        """Poll until it is so; False if the bound passes."""
        end = self.clock.steady() + bound_seconds
        while not is_so():
            if self.clock.steady() > end:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def missing(self, scenario: Scenario) -> str:
        """Say what a scenario needs and this target lacks; empty if nothing."""
        needs = {
            "redis_keys": ("main" in self.stores, "--redis"),
            "redis_ttl": ("main" in self.stores, "--redis"),
            "redis_set": ("main" in self.stores, "--redis"),
            "redis_call": ("main" in self.stores, "--redis"),
            "store": ("per_second" in self.stores, "--redis-per-second"),
            "stats": (self.statsd is not None, "--statsd-port"),
            "server_stats": (self.statsd is not None, "--statsd-port"),
            "prometheus": (self.metrics is not None, "--metrics"),
            "http": (self.main is not None and self.debug is not None, "--http and --debug"),
            "files": (self.folder is not None, "--config-dir"),
            "store_link": (self.link is not None, "a relay before the store: --command"),
        }
        lacking = [option for step, (is_there, option) in needs.items() if scenario.has_step(step) and not is_there]
        if scenario.files and self.folder is None:
            lacking.append("--config-dir")
        return ", ".join(dict.fromkeys(lacking))
