"""Why a descriptor finds the rule that it finds, or none: the way through the tree, told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ratelimit.descriptor import Entry
from ratelimit.modes import OnStoreError
from ratelimit.rules import Domain, Node, Rule


@dataclass(frozen=True, slots=True)
class Turn:
    """How one entry found its node."""

    entry: Entry
    node: str = ""
    how: str = ""


@dataclass(frozen=True, slots=True)
class Way:
    """The way of one descriptor."""

    turns: tuple[Turn, ...]
    rule: Rule | None
    why: str


def explain(domain: Domain, entries: Sequence[Entry]) -> Way:
    """Return the way of a descriptor through the rules of its domain."""
    node, turns = domain.root, list[Turn]()
    for key, value in entries:
        found = _find(node, key, value)
        if found is None:
            turns.append(Turn((key, value)))
            place = f"below {turns[-2].node}" if len(turns) > 1 else "at the top of the domain"
            return Way(tuple(turns), None, f"no node {place} fits {key}={value}, so nothing limits it")
        node, how = found
        turns.append(Turn((key, value), node.shown, how))
    if node.rule is None:
        deeper = "; nodes below it want further entries" if node.children else ""
        return Way(tuple(turns), None, f"it ends at {node.shown}, which has no limit{deeper}")
    what = "is unlimited" if node.rule.limit is None else "limits it"
    return Way(tuple(turns), node.rule, f"its last entry ends at {node.rule.path}, which {what}")


def _find(node: Node, key: str, value: str) -> tuple[Node, str] | None:
    """Return what `Node.find` does, and how."""
    composite = f"{key}_{value}"
    child = node.children.get(composite)
    if child is not None:
        return child, "exact"
    child = next((pattern.node for pattern in node.patterns if pattern.fits(composite)), None)
    if child is not None:
        return child, "pattern"
    child = node.children.get(key)
    return None if child is None else (child, "key")


def traits(rule: Rule) -> list[str]:
    """List what a rule says beside its limits."""
    modes, reserve = rule.modes, rule.modes.reserve
    weights = ", ".join(f"{kind} {float(weight):g}" for kind, weight in sorted(modes.weights.items()))
    said = {
        "shadow_mode": rule.shadow_mode,
        "quota_mode": rule.quota_mode,
        f"name: {rule.name}": rule.name,
        f"replaces: {', '.join(sorted(rule.replaces))}": rule.replaces,
        f"ceiling: {', '.join(str(limit.ceiling) for limit in rule.limits if limit.ceiling)}": rule.has_ceiling,
        "on_deny: keep": modes.is_kept,
        "check: exhausted": modes.is_exhausted,
        f"reserve: {reserve.ttl_ms / 1000 if reserve else 0:g}s": reserve,
        f"idempotent: {modes.remember_ms / 1000:g}s": modes.remember_ms,
        f"on_store_error: {modes.on_store_error.value}": modes.on_store_error is not OnStoreError.ERROR,
        f"weights: {weights}": weights,
        f"soft: {modes.soft.at if modes.soft else 0:g}": modes.soft,
    }
    return [text for text, is_said in said.items() if is_said]
