"""Rules in few words: `limit("key", amount, …)` makes a node, `rule_set(domain, nodes…)` a loaded set."""

from __future__ import annotations

from typing import Any

from ratelimit.rules import RuleSet
from ratelimit.specs import DescriptorSpec, DomainSpec, LimitSpec, Where
from ratelimit.tree import build

HERE = Where("rules.yaml", 1)


def node(key: str, value: str = "", *below: DescriptorSpec, **fields: Any) -> DescriptorSpec:
    """Return a node without a limit of its own."""
    return DescriptorSpec(HERE, key, value, descriptors=below, **fields)


def limit(
    key: str,
    amount: int = 10,
    value: str = "",
    *,
    unit: str = "hour",
    name: str = "",
    replaces: tuple[str, ...] = (),
    **fields: Any,
) -> DescriptorSpec:
    """Return a node with a limit."""
    spec = LimitSpec(HERE, unit, amount, name=name, replaces=replaces)
    return DescriptorSpec(HERE, key, value, spec, **fields)


def unlimited(
    key: str, value: str = "", *, name: str = "", replaces: tuple[str, ...] = (), **fields: Any
) -> DescriptorSpec:
    """Return a node that is never limited."""
    spec = LimitSpec(HERE, unlimited=True, name=name, replaces=replaces)
    return DescriptorSpec(HERE, key, value, spec, **fields)


def rule_set(domain: str, *nodes: DescriptorSpec) -> RuleSet:
    """Return the rules of one domain."""
    return build([DomainSpec(HERE, domain, nodes)])
