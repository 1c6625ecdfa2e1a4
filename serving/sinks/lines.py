"""What is said to statsd and to dogstatsd: lines, each dialect its own.

ratelimit.service.rate_limit.d.k.total_hits.__zone=a1:3|c          statsd
ratelimit.service.rate_limit.d.k.total_hits:3|c|#zone:a1           dogstatsd
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal, Protocol, TypeAlias

from serving.sinks.mogrifiers import Mogrifier
from serving.sinks.names import NAMES_REMEMBERED_MAX, fit, fit_tag, number, tagged

Kind: TypeAlias = Literal["c", "g", "ms"]
Labels: TypeAlias = tuple[tuple[str, str], ...]


class Dialect(Protocol):
    """How one number is written."""

    def line(self, name: str, labels: Labels, value: float, kind: Kind) -> str:
        """Return the line, without its end."""


class Statsd:
    """Tags stand at the end of the name, as the reference writes them."""

    def __init__(self, tags: Mapping[str, str]) -> None:
        self._tags = tags
        self._names = lru_cache(NAMES_REMEMBERED_MAX)(self._name)

    def line(self, name: str, labels: Labels, value: float, kind: Kind) -> str:
        """Return `name:value|kind`."""
        return f"{self._names(name, labels)}:{number(value)}|{kind}"

    def _name(self, name: str, labels: Labels) -> str:
        return tagged(fit(name), {**self._tags, **dict(labels)})


class DogStatsd:
    """Tags stand behind; the first mogrifier that fits a name rewrites it."""

    def __init__(self, tags: Mapping[str, str], mogrifiers: Sequence[Mogrifier]) -> None:
        self._tags = tags
        self._mogrifiers = mogrifiers
        self._parts = lru_cache(NAMES_REMEMBERED_MAX)(self._name_and_tags)

    def line(self, name: str, labels: Labels, value: float, kind: Kind) -> str:
        """Return `name:value|kind|#key:value,…`."""
        rewritten, tags = self._parts(name, labels)
        return f"{rewritten}:{number(value)}|{kind}{tags}"

    def _name_and_tags(self, name: str, labels: Labels) -> tuple[str, str]:
        tags = {**self._tags, **dict(labels)}
        rewritten = fit(name)
        for mogrifier in self._mogrifiers:
            if (found := mogrifier.rewrite(rewritten)) is not None:
                rewritten, tags = found[0], {**tags, **found[1]}
                break
        listed = ",".join(f"{fit_tag(key)}:{fit_tag(value)}" for key, value in sorted(tags.items()))
        return rewritten, f"|#{listed}" if listed else ""
