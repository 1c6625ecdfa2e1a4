"""The Prometheus page: dotted names mapped to the reference's series."""

from __future__ import annotations

import re
from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.metrics import BUCKETS_SECONDS, Registry
from serving.sinks.names import fit, series_name

_RULE = re.compile(
    r"ratelimit\.service\.rate_limit\.([^.]*)\.([^.]+)(?:\.([^.]+))?(?:\..+)?"
    r"\.(near_limit|over_limit|total_hits|within_limit|shadow_mode)"
)
_ERROR = re.compile(r"ratelimit\.service\.call\.should_rate_limit\.(\w+_error)")
_REQUESTS = re.compile(r"ratelimit_server\.([^.]+)\.total_requests")
_TIME = re.compile(r"ratelimit_server\.([^.]+)\.response_time")


def mapped(name: str) -> tuple[str, dict[str, str]]:
    """Return the series and labels of a dotted name."""
    name = fit(name)
    if found := _RULE.fullmatch(name):
        domain, key1, key2, stat = found.groups()
        labels = {"domain": domain, "key1": key1} | ({"key2": key2} if key2 else {})
        return f"ratelimit_service_rate_limit_{stat}", labels
    if found := _ERROR.fullmatch(name):
        return "ratelimit_service_should_rate_limit_error", {"err_type": found[1]}
    if found := _REQUESTS.fullmatch(name):
        return "ratelimit_service_total_requests", {"grpc_method": found[1]}
    return series_name(name), {}


def render(registry: Registry) -> tuple[bytes, str]:
    """Return the page and its content type."""
    collectors = CollectorRegistry(auto_describe=False)
    collectors.register(_Once(registry))
    page = generate_latest(collectors).decode()
    # The reference's counters end without `_total`.
    lines = [line for line in page.splitlines() if "_created" not in line]
    return (
        "\n".join(re.sub(r"_weircounter_total(?=[{ ])", "", line) for line in lines) + "\n"
    ).encode(), CONTENT_TYPE_LATEST


class _Once(Collector):
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        families: dict[tuple[str, str], Metric] = {}
        sums: dict[tuple[str, str, tuple[tuple[str, str], ...]], float] = {}
        for sample in self._registry.samples():
            series, labels = mapped(sample.name)
            labels |= sample.labels
            key = (series, sample.kind, tuple(labels.items()))
            sums[key] = sums.get(key, 0) + sample.value
        for (series, kind, pairs), value in sums.items():
            family = families.setdefault((series, kind), _family(series, kind))
            family.add_sample(family.name if kind == "gauge" else f"{series}_weircounter_total", dict(pairs), value)
        yield from families.values()
        for name, timer in self._registry.timers.items():
            found = _TIME.fullmatch(name)
            series = "ratelimit_service_response_time_seconds" if found else series_name(name)
            histogram = HistogramMetricFamily(series, series, labels=["grpc_method"])
            edges, total = [], 0
            for edge, count in zip([*map(str, BUCKETS_SECONDS), "+Inf"], timer.buckets, strict=True):
                total += count
                edges.append((edge, total))
            histogram.add_metric([found[1] if found else name], edges, timer.sum_seconds)
            yield histogram


def _family(series: str, kind: str) -> Metric:
    if kind == "gauge":
        return GaugeMetricFamily(series, series)
    return CounterMetricFamily(f"{series}_weircounter", series)
