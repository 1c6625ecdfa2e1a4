"""Metrics of several processes, as those of one.

    worker ── dump(registry) ──▶ text ──▶ Fleet.take ──▶ samples(), timers: everything added up ──▶ sinks

1. Counters and timers never go back: what a process had counted when it was last read is kept when it ends. What it
   counted after that reading is lost with it.
2. Gauges are added up over the processes that run.
3. Series are bounded by what each process bounds; what is kept of ended ones, by `series_max`.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from aiohttp import web

from serving.http import Page
from serving.metrics import OBSERVATIONS_MAX, Registry, Sample, Timer
from serving.sinks.pace import paced

_Key: TypeAlias = tuple[str, Literal["counter", "gauge"], tuple[tuple[str, str], ...]]


@dataclass(slots=True)
class _Reading:
    """What one process had counted."""

    series: dict[_Key, float] = field(default_factory=dict)
    timers: dict[str, Timer] = field(default_factory=dict)


async def dump(registry: Registry) -> str:
    """Write everything down, a line for each series and timer; observations kept for statsd go with it."""
    lines = [
        json.dumps([sample.name, sample.kind, dict(sample.labels), sample.value])
        async for sample in paced(registry.samples())
    ]
    for name, timer in registry.timers.items():
        recent, timer.recent = timer.recent, []
        lines.append(json.dumps([name, "timer", timer.buckets, timer.count, timer.sum_seconds, recent]))
    return "\n".join(lines)


class Fleet:
    """Adds up what it was last told of each process, as a source of a registry."""

    def __init__(self, registry: Registry, *, series_max: int) -> None:
        self._timers = registry.timers
        self._series_max = series_max
        self._running: dict[Hashable, _Reading] = {}
        self._ended = _Reading()
        registry.add_source(self._samples)

    def take(self, process: Hashable, text: str) -> None:
        """Take the dump of a process in place of its last one."""
        reading = _Reading()
        for line in text.splitlines():
            name, kind, *facts = json.loads(line)
            if kind == "timer":
                reading.timers[name] = self._timer(name, *facts)
            else:
                labels, value = facts
                reading.series[name, kind, tuple(labels.items())] = value
        self._running[process] = reading
        self._add_timers()

    def end(self, process: Hashable) -> None:
        """Keep what a process had counted, and forget the process."""
        reading = self._running.pop(process, _Reading())
        kept = self._ended.series
        for key, value in reading.series.items():
            if key[1] == "counter" and (key in kept or len(kept) < self._series_max):
                kept[key] = kept.get(key, 0) + value
        for name, timer in reading.timers.items():
            _add(self._ended.timers.setdefault(name, Timer()), timer)
        self._add_timers()

    def _samples(self) -> Iterator[Sample]:
        sums: dict[_Key, float] = dict(self._ended.series)
        for reading in self._running.values():
            for key, value in reading.series.items():
                sums[key] = sums.get(key, 0) + value
        for (name, kind, labels), value in sums.items():
            yield Sample(name, value, kind, dict(labels))

    def _timer(self, name: str, buckets: list[int], count: int, sum_seconds: float, recent: list[float]) -> Timer:
        timer = Timer()
        timer.buckets, timer.count, timer.sum_seconds = buckets, count, sum_seconds
        known = self._timers.setdefault(name, Timer()).recent
        known += recent[: max(0, OBSERVATIONS_MAX - len(known))]
        return timer

    def _add_timers(self) -> None:
        for name, total in self._timers.items():
            total.buckets, total.count, total.sum_seconds = Timer().buckets, 0, 0.0
            for reading in (self._ended, *self._running.values()):
                if name in reading.timers:
                    _add(total, reading.timers[name])


def _add(total: Timer, timer: Timer) -> None:
    total.buckets = [mine + more for mine, more in zip(total.buckets, timer.buckets, strict=True)]
    total.count += timer.count
    total.sum_seconds += timer.sum_seconds


def dump_page(registry: Registry) -> Page:
    """Return the page that a fleet reads."""

    async def answer(_request: web.BaseRequest) -> web.Response:
        return web.Response(text=await dump(registry))

    return answer
