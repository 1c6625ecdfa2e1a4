"""Rules as somebody wrote them, whatever they were written in; `rules.build` makes sense of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | Mapping[str, JsonValue] | None"


@dataclass(frozen=True, slots=True)
class Where:
    """The place to name when something is wrong."""

    file: str
    line: int = 0


@dataclass(frozen=True, slots=True)
class Own:
    """One of our own keys, as it was written."""

    where: Where
    value: JsonValue


# Keys of a `rate_limit` that the reference does not know; `own_keys` reads them.
OWN_KEYS = frozenset(
    {
        *("algorithm", "amount", "burst", "calendar", "ceiling", "limits", "timezone", "unit_multiplier", "window"),
        *("check", "denied", "idempotent", "lease", "on_deny", "on_store_error", "reserve", "soft", "weights"),
    }
)


@dataclass(frozen=True, slots=True)
class LimitSpec:
    """The `rate_limit` of a descriptor."""

    where: Where
    unit: str = ""
    requests_per_unit: int = 0
    unlimited: bool = False
    name: str = ""
    replaces: tuple[str, ...] = ()
    own: Mapping[str, Own] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DescriptorSpec:
    """One node of the tree."""

    where: Where
    key: str
    value: str = ""
    rate_limit: LimitSpec | None = None
    descriptors: tuple[DescriptorSpec, ...] = ()
    shadow_mode: bool = False
    quota_mode: bool = False
    detailed_metric: bool = False
    value_to_metric: bool = False
    share_threshold: bool = False
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DomainSpec:
    """One file, or one xDS resource."""

    where: Where
    domain: str
    descriptors: tuple[DescriptorSpec, ...] = ()
    hash_tag: tuple[str, ...] = ()
    """Keys of the leading entries that name the slot of a counter, for counters of our own modes."""
