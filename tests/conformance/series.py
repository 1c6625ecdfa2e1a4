"""Statistics as the vectors name them: statsd counters of a domain, Prometheus series of a page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_IPV4 = re.compile(r"(\d+)\.(\d+)\.(\d+)\.(\d+)")
_SERIES = re.compile(r"(?P<series>[^\s{]+(?:\{.*\})?)\s+(?P<value>\S+)")


def domain_prefix(domain: str) -> str:
    """Return what the names of a domain's counters begin with."""
    name = _IPV4.sub(r"\1_\2_\3_\4", re.sub("[:|]", "_", domain))
    return f"ratelimit.service.rate_limit.{name}."


def changes(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return what each name grew by, without those that stood still."""
    grown = {name: value - before.get(name, 0) for name, value in after.items()}
    return {name: value for name, value in grown.items() if value}


def of_domain(counters: Mapping[str, float], domain: str) -> dict[str, float]:
    """Return the counters of a domain, under their names without the prefix."""
    prefix = domain_prefix(domain)
    return {name.removeprefix(prefix): value for name, value in counters.items() if name.startswith(prefix)}


def parse_page(text: str) -> dict[str, float]:
    """Read a page in Prometheus' text format."""
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return {found["series"]: float(found["value"]) for line in lines if (found := _SERIES.match(line))}


def select(page: Mapping[str, float], texts: Iterable[str]) -> dict[str, float]:
    """Return the series that hold one of `texts`."""
    wanted = tuple(texts)
    return {series: value for series, value in page.items() if any(text in series for text in wanted)}
