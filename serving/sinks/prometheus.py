"""The Prometheus page: dotted names mapped to the reference's series.

Written here and not by prometheus-client, which takes a page in one go: 10,000 series would hold up every call for
longer than Envoy waits. The client writes what it knows about the process and the interpreter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

from prometheus_client import CONTENT_TYPE_LATEST, GC_COLLECTOR, PROCESS_COLLECTOR, CollectorRegistry, generate_latest

from serving.metrics import BUCKETS_SECONDS, Registry, Timer
from serving.sinks.mapping import Mapped, Mapper
from serving.sinks.names import NAMES_REMEMBERED_MAX, fit, number, series_name
from serving.sinks.pace import paced

_RULE = re.compile(
    r"ratelimit\.service\.rate_limit\.([^.]*)\.([^.]+)(?:\.([^.]+))?(?:\..+)?"
    r"\.(near_limit|over_limit|total_hits|within_limit|shadow_mode)"
)
_ERROR = re.compile(r"ratelimit\.service\.call\.should_rate_limit\.(\w+_error)")
_REQUESTS = re.compile(r"ratelimit_server\.([^.]+)\.total_requests")
_TIME = re.compile(r"ratelimit_server\.([^.]+)\.response_time")
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def mapped(name: str) -> tuple[str, dict[str, str]]:
    """Return the series and labels of a dotted name by the reference's own rules."""
    name = fit(name)
    if found := _RULE.fullmatch(name):
        domain, key1, key2, stat = found.groups()
        labels = {"domain": domain, "key1": key1} | ({"key2": key2} if key2 else {})
        return f"ratelimit_service_rate_limit_{stat}", labels
    if found := _ERROR.fullmatch(name):
        return "ratelimit_service_should_rate_limit_error", {"err_type": found[1]}
    if found := _REQUESTS.fullmatch(name):
        return "ratelimit_service_total_requests", {"grpc_method": found[1]}
    if found := _TIME.fullmatch(name):
        return "ratelimit_service_response_time_seconds", {"grpc_method": found[1]}
    return series_name(name), {}


class Names:
    """What dotted names are called: by the rules of a file, by the built-in ones, or as they are; tags are labels."""

    def __init__(self, mapper: Mapper | None = None, tags: Mapping[str, str] | None = None) -> None:
        self._mapper = mapper
        self._tags = {series_name(key): value for key, value in (tags or {}).items()}
        self.find = lru_cache(NAMES_REMEMBERED_MAX)(self._find)
        """Return the series and labels of a name of a kind, or None where it is dropped."""

    def _find(self, name: str, kind: str) -> Mapped | None:
        found = self._mapper.find(fit(name), kind) if self._mapper is not None else None
        if found == "drop":
            return None
        series, labels = mapped(name) if found is None else (found.series, found.labels)
        return Mapped(series, {**self._tags, **labels})


class PrometheusPage:
    """Writes the page from the registry."""

    def __init__(self, registry: Registry, names: Names, *, times_in_milliseconds: bool = False) -> None:
        self._registry = registry
        self._names = names
        self._unit = 1000 if times_in_milliseconds else 1
        self._process = CollectorRegistry(auto_describe=False)
        self._process.register(PROCESS_COLLECTOR)
        self._process.register(GC_COLLECTOR)

    async def render(self) -> tuple[bytes, str]:
        """Return the page and its content type."""
        await self._registry.refresh()
        families: dict[tuple[str, str], dict[str, float]] = {}
        async for sample in paced(self._registry.samples()):
            if (found := self._names.find(sample.name, sample.kind)) is None:
                continue
            labels = _labels({**found.labels, **sample.labels})
            series = families.setdefault((found.series, sample.kind), {})
            # Deeper levels of a rule share a series: they are added up.
            series[labels] = series.get(labels, 0) + sample.value
        lines = [line async for line in paced(_lines(families))]
        for name, timer in self._registry.timers.items():
            lines += self._histogram(name, timer)
        return ("\n".join([*lines, ""]).encode() + generate_latest(self._process)), CONTENT_TYPE_LATEST

    def _histogram(self, name: str, timer: Timer) -> Iterator[str]:
        if (found := self._names.find(name, "timer")) is None:
            return
        labels = found.labels
        yield f"# HELP {found.series} {found.series}"
        yield f"# TYPE {found.series} histogram"
        total = 0
        for edge, count in zip(
            [*(number(each * self._unit) for each in BUCKETS_SECONDS), "+Inf"], timer.buckets, strict=True
        ):
            total += count
            yield f"{found.series}_bucket{_labels({**labels, 'le': edge})} {total}"
        yield f"{found.series}_count{_labels(labels)} {timer.count}"
        yield f"{found.series}_sum{_labels(labels)} {number(timer.sum_seconds * self._unit)}"


def _lines(families: Mapping[tuple[str, str], Mapping[str, float]]) -> Iterator[str]:
    for (series, kind), values in families.items():
        yield f"# HELP {series} {series}"
        # The reference's counters end without `_total`.
        yield f"# TYPE {series} {kind}"
        for labels, value in values.items():
            yield f"{series}{labels} {number(value)}"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{value.translate(_ESCAPES)}"' for key, value in labels.items()) + "}"
