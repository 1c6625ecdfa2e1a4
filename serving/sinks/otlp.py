"""Metrics by OTLP, as totals since the start, under the names of the Prometheus page."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from serving.clock import Clock
from serving.metrics import BUCKETS_SECONDS, Registry, Timer
from serving.sinks.pace import paced
from serving.sinks.prometheus import Names

_LOG = logging.getLogger(__name__)
_CUMULATIVE = AggregationTemporality.CUMULATIVE

# The last export, before the process ends.
_LAST_SECONDS_MAX = 3.0


class OtlpSink:
    """Exports every STATS_FLUSH_INTERVAL; an export that is still under way is waited for, not doubled."""

    def __init__(
        self,
        interval_seconds: float,
        registry: Registry,
        names: Names,
        exporter: MetricExporter,
        resource: Resource,
        clock: Clock,
    ) -> None:
        self._interval_seconds = interval_seconds
        self._registry = registry
        self._names = names
        self._exporter = exporter
        self._resource = resource
        self._clock = clock
        self._started_at = 0
        self._exporting: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._is_away = False

    async def start(self) -> None:
        """Begin to export."""
        self._started_at = self._now()
        self._exporting = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Export a last time."""
        if self._exporting is None:
            return
        self._stopping.set()
        await asyncio.wait([self._exporting], timeout=_LAST_SECONDS_MAX)
        # What still waits for the collector is told to give up.
        self._exporter.shutdown()
        self._exporting.cancel()
        await asyncio.gather(self._exporting, return_exceptions=True)

    async def _run(self) -> None:
        is_last = False
        while not is_last:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._interval_seconds)
            is_last = self._stopping.is_set()
            await self.export()

    async def export(self) -> None:
        """Send everything; one warning for each outage."""
        data = await self._data()
        result = await asyncio.to_thread(self._exporter.export, data)
        is_away = result is not MetricExportResult.SUCCESS
        if is_away and not self._is_away:
            _LOG.warning("metrics are not taken by OTLP")
        self._is_away = is_away

    async def _data(self) -> MetricsData:
        now = self._now()
        points: dict[tuple[str, str], list[NumberDataPoint]] = {}
        async for (series, kind, labels), value in paced((await self._sums()).items()):
            point = NumberDataPoint(dict(labels), self._started_at, now, value)
            points.setdefault((series, kind), []).append(point)
        metrics = [
            Metric(series, "", "", Gauge(each) if kind == "gauge" else Sum(each, _CUMULATIVE, is_monotonic=True))
            for (series, kind), each in points.items()
        ]
        metrics += self._histograms(now)
        scope = ScopeMetrics(InstrumentationScope("weir"), metrics, "")
        return MetricsData([ResourceMetrics(self._resource, [scope], "")])

    async def _sums(self) -> dict[tuple[str, str, tuple[tuple[str, str], ...]], float]:
        sums: dict[tuple[str, str, tuple[tuple[str, str], ...]], float] = {}
        async for sample in paced(self._registry.samples()):
            if (found := self._names.find(sample.name, sample.kind)) is not None:
                key = (found.series, sample.kind, tuple({**found.labels, **sample.labels}.items()))
                sums[key] = sums.get(key, 0) + sample.value
        return sums

    def _histograms(self, now: int) -> Iterator[Metric]:
        for name, timer in self._registry.timers.items():
            if (found := self._names.find(name, "timer")) is not None:
                point = self._histogram(timer, found.labels, now)
                yield Metric(found.series, "", "s", Histogram([point], _CUMULATIVE))

    def _histogram(self, timer: Timer, labels: dict[str, str], now: int) -> HistogramDataPoint:
        return HistogramDataPoint(
            attributes=labels,
            start_time_unix_nano=self._started_at,
            time_unix_nano=now,
            count=timer.count,
            sum=timer.sum_seconds,
            bucket_counts=list(timer.buckets),
            explicit_bounds=BUCKETS_SECONDS,
            # Optional on the wire, and not known here.
            min=None,  # type: ignore[arg-type]
            max=None,  # type: ignore[arg-type]
        )

    def _now(self) -> int:
        return int(self._clock.wall() * 1e9)
