from __future__ import annotations

import pytest

from ratelimit.dynamic_limit import PAGE_MAX, Page
from ratelimit.errors import StoreUnavailable
from ratelimit.known_limits import KnownLimits
from ratelimit.refreshing import Refreshing
from ratelimit.settings import ConfigSettings
from ratelimit.source import Rules
from ratelimit.stores.memory_limits import MemoryLimits
from serving.metrics import Registry
from tests.fakes.clock import FakeClock
from tests.fakes.rules import read_specs

RULES = "domain: d\ndescriptors:\n  - {key: k, rate_limit: {unit: day, requests_per_unit: 1, ceiling: 9}}\n"


class Limits(MemoryLimits):
    """A store that may be away, and tells how often it was asked."""

    is_away = False
    asked = 0

    async def read(self, after: int, *, most: int = PAGE_MAX, deadline: float) -> Page:
        self.asked += 1
        if self.is_away:
            raise StoreUnavailable("nobody there")
        return await super().read(after, most=most, deadline=deadline)


class Bench:
    def __init__(self) -> None:
        self.clock, self.registry, self.known = FakeClock(), Registry(), KnownLimits()
        self.limits = Limits(self.clock, limits_max=10)
        self.rules = Rules(ConfigSettings(), self.registry)
        self.refreshing = Refreshing(
            self.limits, self.known, self.rules, self.clock, self.registry, interval_seconds=3_600.0
        )

    def metric(self, name: str) -> float:
        return next(each.value for each in self.registry.samples() if each.name == f"weir.dynamic_limits.{name}")


async def test_without_rules_that_ask_for_it_nobody_is_asked() -> None:
    bench = Bench()
    await bench.refreshing.start()
    await bench.refreshing.stop()

    assert (bench.limits.asked, bench.metric("age_seconds")) == (0, 0.0)


async def test_a_start_without_the_store_goes_on_and_outages_are_told_once_each(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    await bench.rules.apply(read_specs(RULES))
    bench.limits.is_away = True
    await bench.refreshing.start()
    await bench.refreshing.refresh()
    once = caplog.text.count("nobody there")
    bench.limits.is_away = False
    await bench.refreshing.refresh()
    bench.limits.is_away = True
    await bench.refreshing.refresh()
    await bench.refreshing.stop()

    assert (once, caplog.text.count("nobody there")) == (1, 2)
    assert bench.metric("refresh_failures") >= 3


async def test_limits_are_as_old_as_the_last_time_they_were_read() -> None:
    bench = Bench()
    await bench.rules.apply(read_specs(RULES))
    await bench.refreshing.refresh()
    bench.limits.is_away = True
    bench.clock.advance(7.0)
    await bench.refreshing.refresh()

    assert bench.metric("age_seconds") == 7.0
