"""Turn written rules into trees, and name everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ratelimit import atomicity, own_keys
from ratelimit.atomicity import ANYWHERE, Home, Placed
from ratelimit.errors import ConfigError, Problem
from ratelimit.limits import Limit, Unit
from ratelimit.modes import REFERENCE_MODES, OnStoreError
from ratelimit.rules import Domain, Node, Rule, RuleSet, Show, joined, pattern, plainly
from ratelimit.specs import DescriptorSpec, DomainSpec, LimitSpec, Where


def build(specs: Iterable[DomainSpec], *, merge: bool = False, show: Show = plainly, home: Home = ANYWHERE) -> RuleSet:
    """Return the rules of all specs as one unit.

    `merge` lets several specs add to one domain; their nodes must still differ. `show` says what
    stands for a value in metrics, pages and problems; `home` what the counters' store can do.

    Raises:
        ConfigError: something is wrong; it carries every problem of every spec.
    """
    builder = _built(specs, merge=merge, show=show)
    # What a home cannot do is worth saying of rules that are right in themselves.
    wrong = builder.problems or list(atomicity.problems(builder.placed, home))
    if wrong:
        raise ConfigError(wrong)
    return RuleSet(
        builder.domains,
        has_ceilings=any(each.rule.has_ceiling for each in builder.placed),
        survives_outages=any(each.rule.modes.on_store_error is not OnStoreError.ERROR for each in builder.placed),
    )


def problems(specs: Iterable[DomainSpec], *, merge: bool = False, show: Show = plainly) -> list[Problem]:
    """Return everything that is wrong with specs."""
    return _built(specs, merge=merge, show=show).problems


def _built(specs: Iterable[DomainSpec], *, merge: bool, show: Show) -> Builder:
    builder = Builder(merge=merge, show=show)
    for spec in specs:
        builder.add(spec)
    return builder


class Builder:
    """Gathers domains and problems; a problem never stops the search for others.

    What a problem keeps out of the tree is still looked through, in a tree of its own.
    """

    def __init__(self, *, merge: bool, show: Show) -> None:
        self.domains: dict[str, Domain] = {}
        self.problems: list[Problem] = []
        self.placed: list[Placed] = []
        self._merge = merge
        self._show = show

    def add(self, spec: DomainSpec) -> None:
        """Add one domain."""
        domain = self._domain(spec)
        self._grow(domain, domain.root, spec.domain, spec.descriptors, ())

    def _domain(self, spec: DomainSpec) -> Domain:
        if not spec.domain:
            self._blame(spec.where, "config file cannot have empty domain")
        elif spec.domain in self.domains and not self._merge:
            self._blame(spec.where, f"duplicate domain '{spec.domain}' in config file")
        else:
            domain = self.domains.setdefault(spec.domain, Domain(spec.domain, self._show))
            if spec.hash_tag:
                domain.hash_tag = spec.hash_tag
            return domain
        return Domain(spec.domain, self._show)

    def _grow(
        self, domain: Domain, parent: Node, path: str, specs: Sequence[DescriptorSpec], above: tuple[str, ...]
    ) -> None:
        for spec in specs:
            composite = joined(spec.key, spec.value)
            shown = joined(spec.key, self._show(spec.value) if spec.value else "")
            below = f"{path}.{shown}"
            node = self._node(spec, shown, below)
            if not spec.key:
                self._blame(spec.where, "descriptor has empty key")
            elif composite in parent.children:
                self._blame(spec.where, f"duplicate descriptor composite key '{below}'")
            else:
                self._attach(parent, node)
            keys = (*above, spec.key)
            if node.rule is not None:
                self.placed.append(Placed(domain, keys, node.rule))
            self._grow(domain, node, below, spec.descriptors, keys)

    def _attach(self, parent: Node, node: Node) -> None:
        parent.children[node.composite] = node
        if "*" in node.composite:
            parent.patterns.append(pattern(node))

    def _node(self, spec: DescriptorSpec, shown: str, path: str) -> Node:
        if spec.share_threshold and "*" not in spec.value:
            self._blame(
                spec.where,
                f"share_threshold can only be used with wildcard values (containing '*'), but found key '{shown}'",
            )
        return Node(
            joined(spec.key, spec.value),
            self._rule(spec, spec.rate_limit, path) if spec.rate_limit else None,
            shown,
            shared_value=spec.value if spec.share_threshold else "",
            detailed_metric=spec.detailed_metric,
            value_to_metric=spec.value_to_metric,
        )

    def _rule(self, spec: DescriptorSpec, limit: LimitSpec, path: str) -> Rule:
        for name in limit.replaces:
            if not name:
                self._blame(limit.where, "should not have an empty replaces entry")
            elif name == limit.name:
                self._blame(limit.where, "replaces should not contain name of same descriptor")
        if limit.own and not limit.unlimited:
            limits, modes = own_keys.read(limit, self._blame)
        else:
            plain = self._limit(limit)
            limits, modes = (() if plain is None else (plain,)), REFERENCE_MODES
        return Rule(
            limits[0] if limits else None,
            path,
            limit.where,
            spec.shadow_mode,
            spec.quota_mode,
            limit.name,
            frozenset(limit.replaces),
            spec.metadata,
            modes,
            limits[1:],
        )

    def _limit(self, limit: LimitSpec) -> Limit | None:
        unit = Unit.__members__.get(limit.unit.upper())
        if limit.unlimited:
            if unit is not None:
                self._blame(limit.where, "should not specify rate limit unit when unlimited")
            for key, own in limit.own.items():
                self._blame(own.where, f"{key}: an unlimited rule has none")
            return None
        if unit is None:
            self._blame(limit.where, f"invalid rate limit unit '{limit.unit}'")
            return None
        return Limit(limit.requests_per_unit, unit, limit.name)

    def _blame(self, where: Where, message: str) -> None:
        self.problems.append(Problem(where.file, where.line, message))
