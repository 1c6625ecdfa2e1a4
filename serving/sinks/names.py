"""Names as statsd can carry them, and what stands for them on other pages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

_IPV4 = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
# Colon and bar are the reference's; a line end in a descriptor's value would forge a line of its own.
_UNFIT = re.compile(r"[:|\x00-\x1f\x7f]")
_UNFIT_IN_TAG = re.compile(r"[,|#\x00-\x1f\x7f]")
_UNFIT_IN_SERIES = re.compile(r"[^a-zA-Z0-9_]")

# Formatting costs a microsecond for each name and flush; names are bounded by STATS_SERIES_MAX.
NAMES_REMEMBERED_MAX = 65_536


@lru_cache(NAMES_REMEMBERED_MAX)
def fit(name: str) -> str:
    """Return the name with nothing in it that divides a line, and the dots of IPv4 addresses as underscores."""
    return _IPV4.sub(lambda found: found[0].replace(".", "_"), _UNFIT.sub("_", name))


def tagged(name: str, tags: Mapping[str, str]) -> str:
    """Return the name with its tags at the end, sorted: `name.__key=value`."""
    return name + "".join(f".__{key}={fit(value)}" for key, value in sorted(tags.items()))


def fit_tag(text: str) -> str:
    """Return a tag's key or value without what divides dogstatsd's tags."""
    return _UNFIT_IN_TAG.sub("_", text)


def series_name(name: str) -> str:
    """Return a name that Prometheus takes: what no mapping knows is called so."""
    text = _UNFIT_IN_SERIES.sub("_", name)
    return f"_{text}" if text[:1].isdigit() else text


def number(value: float) -> str:
    """Write a number the short way: no `.0`, no exponent for whole ones."""
    return str(int(value)) if float(value).is_integer() else repr(value)
