"""Counters, gauges and timers in process; sinks read them, nothing is pushed from the hot path.

    code ── add, observe ──▶ Registry ◀── samples() ── statsd flush | /metrics | /stats | OTLP

Names are dotted, as statsd's. The Prometheus sink maps them to names with labels. Labels given
here become tags or labels as the sink has them. Counting is not locked: every process counts on
one thread.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

# Precedent: prometheus-client's own, extended below for a service that answers in under a millisecond.
BUCKETS_SECONDS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# Observations kept for statsd between two flushes; further ones only reach the histogram. Calls of one
# batch are one observation there: statsd reads durations from it, and counts from the counters.
OBSERVATIONS_MAX = 1_000


class Counter:
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def add(self, number: int = 1) -> None:
        """Add; not below 0."""
        self.value += number


class Timer:
    """How long something took: a histogram, and the last observations for statsd."""

    __slots__ = ("buckets", "count", "recent", "sum_seconds")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BUCKETS_SECONDS) + 1)
        self.count = 0
        self.sum_seconds = 0.0
        self.recent: list[float] = []

    def observe(self, seconds: float, times: int = 1) -> None:
        """Take one observation, or that many equal ones: the calls of a batch."""
        self.buckets[bisect_left(BUCKETS_SECONDS, seconds)] += times
        self.count += times
        self.sum_seconds += seconds * times
        if len(self.recent) < OBSERVATIONS_MAX:
            self.recent.append(seconds)


@dataclass(frozen=True, slots=True)
class Sample:
    """One number at one moment."""

    name: str
    value: float
    kind: Literal["counter", "gauge"] = "counter"
    labels: Mapping[str, str] = field(default_factory=dict)


Source = Callable[[], Iterable[Sample]]


class Registry:
    """All metrics of a process. Series with unbounded names belong to a source that bounds them."""

    def __init__(self) -> None:
        self._counters: dict[tuple[str, tuple[tuple[str, str], ...]], Counter] = {}
        self._gauges: dict[tuple[str, tuple[tuple[str, str], ...]], Callable[[], float]] = {}
        self._sources: list[Source] = []
        self._refresh: Callable[[], Awaitable[None]] | None = None
        self.timers: dict[str, Timer] = {}

    def counter(self, name: str, **labels: str) -> Counter:
        """Return the counter of this name and labels, the same one every time."""
        return self._counters.setdefault((name, tuple(sorted(labels.items()))), Counter())

    def gauge(self, name: str, read: Callable[[], float], **labels: str) -> None:
        """Have `read` called whenever a sink looks."""
        self._gauges[name, tuple(sorted(labels.items()))] = read

    def timer(self, name: str) -> Timer:
        """Return the timer of this name, the same one every time."""
        return self.timers.setdefault(name, Timer())

    def add_source(self, source: Source) -> None:
        """Have `source` asked for samples of its own whenever a sink looks."""
        self._sources.append(source)

    def refresh_by(self, refresh: Callable[[], Awaitable[None]]) -> None:
        """Have `refresh` awaited before a sink looks: for sources that must ask somebody else."""
        self._refresh = refresh

    async def refresh(self) -> None:
        """Bring the sources up to date; a sink calls it before it reads."""
        if self._refresh is not None:
            await self._refresh()

    def samples(self) -> Iterator[Sample]:
        """Read everything but the timers; the reader may pause between two samples."""
        for (name, labels), counter in list(self._counters.items()):
            yield Sample(name, counter.value, "counter", dict(labels))
        for (name, labels), read in list(self._gauges.items()):
            yield Sample(name, read(), "gauge", dict(labels))
        for source in tuple(self._sources):
            yield from source()
