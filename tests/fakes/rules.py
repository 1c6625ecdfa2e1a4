"""Rules in few words: `limit("key", amount, …)` makes a node, `rule_set(domain, nodes…)` a loaded set."""

from __future__ import annotations

from typing import Any

from ratelimit.config import grammar
from ratelimit.rules import RuleSet
from ratelimit.specs import DescriptorSpec, DomainSpec, LimitSpec, Where
from ratelimit.tree import build
from serving.yaml_nodes import Bounds

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


def read_specs(text: str) -> list[DomainSpec]:
    """Return what a file with this text says; it must be right."""
    spec, problems = grammar.read("rules.yaml", text.encode(), Bounds(100_000, 100))
    assert spec is not None, problems
    assert problems == []
    return [spec]


def read_rules(text: str) -> RuleSet:
    """Return the rules that a file with this text holds; it must be right."""
    return build(read_specs(text))
