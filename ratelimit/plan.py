"""What a request means under the rules now loaded: planned once, charged as often as it comes.

    bytes ──▶ Request ──▶ Plan (one Step per descriptor) ──▶ charges, when the time is known

A plan holds neither a window's start nor anything that was counted, so it stays true until the
rules change. Where a rule `replaces` others by name, those steps have no rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ratelimit.accounting import near_mark
from ratelimit.descriptor import Descriptor, Entry, Request
from ratelimit.limits import Limit
from ratelimit.rules import Domain, Rule, RuleSet
from ratelimit.specs import Where
from ratelimit.store import COUNT_MAX

# Names of metrics may carry values that callers choose; what is longer is cut.
STATS_KEY_CHARACTERS_MAX = 1_024


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One descriptor, matched."""

    rule: Rule | None
    """None: nothing matched, or another rule of the request replaced it."""
    stem: str = ""
    """Counter key up to the start of the window."""
    stats_key: str = ""
    near_mark: int = 0
    """Hits above it are near the limit."""
    hits: int | None = None
    """None: the request's own hits."""
    is_refund: bool = False


NO_RULE = Step(None)


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A request, matched."""

    request: Request
    steps: tuple[Step, ...]
    is_known_domain: bool = True

    def with_hits(self, own_hits: Sequence[int | None]) -> Plan:
        """Return the plan of a request that differs in the hits its descriptors carry, None where they carry none."""
        steps = [
            step if hits is None or step.rule is None else replace(step, hits=min(hits, COUNT_MAX))
            for step, hits in zip(self.steps, own_hits, strict=True)
        ]
        return replace(self, steps=tuple(steps))


class Planner:
    """Finds the rule of each descriptor and names its counter."""

    def __init__(self, *, key_prefix: str = "", near_ratio: float = 0.8) -> None:
        self._key_prefix = key_prefix
        self._near_ratio = near_ratio

    def plan(self, request: Request, rules: RuleSet) -> Plan:
        """Match every descriptor of `request`."""
        domain = rules.domains.get(request.domain)
        if domain is None:
            return Plan(request, (NO_RULE,) * len(request.descriptors), is_known_domain=False)
        steps = [self._step(domain, descriptor) for descriptor in request.descriptors]
        return Plan(request, without_replaced(steps))

    def _step(self, domain: Domain, descriptor: Descriptor) -> Step:
        if descriptor.override is not None:
            return self._override(domain, descriptor, descriptor.override)
        match = domain.match(descriptor.entries)
        if match is None:
            return NO_RULE
        stem = self._stem(domain.name, match.counted)
        return self._counting(match.rule, stem, match.stats_key, descriptor)

    def _override(self, domain: Domain, descriptor: Descriptor, limit: Limit) -> Step:
        """Plan a limit that the request carries: no rule's modes, metrics under the request's own values."""
        stats_key = domain.override_key(descriptor.entries)
        rule = Rule(limit, stats_key, Where("request"))
        return self._counting(rule, self._stem(domain.name, descriptor.entries), stats_key, descriptor)

    def _counting(self, rule: Rule, stem: str, stats_key: str, descriptor: Descriptor) -> Step:
        near = near_mark(rule.limit.amount, self._near_ratio) if rule.limit else 0
        hits = None if descriptor.hits is None else min(descriptor.hits, COUNT_MAX)
        return Step(rule, stem, stats_key[:STATS_KEY_CHARACTERS_MAX], near, hits, descriptor.is_refund)

    def _stem(self, domain: str, entries: Sequence[Entry]) -> str:
        # The reference's form to the letter: its replicas and ours count on the same keys.
        return f"{self._key_prefix}{domain}_" + "".join(f"{key}_{value}_" for key, value in entries)


def without_replaced(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Drop the rules whose name another rule of the request replaces; its own counting is not asked."""
    replaced = {name for step in steps if step.rule for name in step.rule.replaces}
    if not replaced:
        return tuple(steps)
    return tuple(NO_RULE if step.rule and step.rule.name in replaced else step for step in steps)
