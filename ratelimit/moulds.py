"""Plans of requests that differ in their values only: what they share is found out once.

    domain, keys of each descriptor ──▶ Mould ── values ──▶ nodes ──▶ steps, shared by all who find these nodes
                                                     └────▶ counter keys, this request's own

1. Keys and values decide which node of the rules each descriptor finds; the nodes decide all the rest but the
   counter keys, which have the values in them.
2. Where that is not so, a request is planned for itself: rules whose values are in metrics or shared, and counters of
   our own modes. What has hits, a phase or a limit of its own never comes here.
3. All of it belongs to one generation of rules, as a plan does. `tests/unit` holds it to the planner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ratelimit.descriptor import Asked, Request
from ratelimit.plan import Changing, Plan, Planner
from ratelimit.rules import Domain, Node, RuleSet

# Combinations of nodes that are remembered. One costs less than a kilobyte, and a fleet's requests find a few dozen.
_CASTINGS_MAX = 4_096

_Nodes = tuple[Node | None, ...]


@dataclass(frozen=True, slots=True)
class _Casting:
    """What requests share that find the same nodes."""

    plan: Plan
    """Of the first of them."""
    blanks: Sequence[int]
    """Descriptors without a rule: they have no counter to name."""


class Moulds:
    """All moulds of one generation."""

    def __init__(self, planner: Planner, rules: RuleSet) -> None:
        self._planner = planner
        self._rules = rules
        self.castings: dict[_Nodes, _Casting | None] = {}
        """None: requests that find these nodes are planned for themselves."""

    def make(self, domain: str, keys: Sequence[Sequence[str]]) -> Mould | None:
        """Return the mould of requests with these keys, descriptor by descriptor; None: the domain has no rules."""
        known = self._rules.domains.get(domain)
        return Mould(self, known, self._planner.stem(domain, ()), keys) if known is not None else None

    def cast(self, domain: Domain, nodes: _Nodes, asked: Asked) -> _Casting | None:
        """Find out what requests share that find these nodes, `asked` being one."""
        if nodes in self.castings:
            return self.castings[nodes]
        if len(self.castings) >= _CASTINGS_MAX:
            self.castings.clear()
        matches = [domain.match(descriptor.entries) for descriptor in asked.descriptors]
        plan = self._planner.plan(Request(asked.domain, asked.descriptors), self._rules)
        is_shared = plan.is_plain and not any(match is not None and match.shows_values for match in matches)
        blanks = [position for position, step in enumerate(plan.steps) if step.rule is None]
        self.castings[nodes] = casting = _Casting(plan, blanks) if is_shared else None
        return casting


class Mould:
    """Makes the plans of requests of one domain whose descriptors have these keys."""

    def __init__(self, moulds: Moulds, domain: Domain, start: str, keys: Sequence[Sequence[str]]) -> None:
        self._moulds = moulds
        self._domain = domain
        self._start = start
        self._keys = keys

    def plan(self, values: Sequence[str], asked: Asked) -> Plan | None:
        """Return the plan of a request with these values, in the order of the keys; None: it is planned for itself.

        `asked` is that request, and looked into only where no request like it was seen before.
        """
        nodes: list[Node | None] = []
        stems: list[str] = []
        rest = iter(values)
        for keys in self._keys:
            node: Node | None = self._domain.root
            stem = self._start
            for key, value in zip(keys, rest, strict=False):
                composite = f"{key}_{value}"
                stem += f"{composite}_"
                if node is not None:
                    node = node.find(key, composite)
            nodes.append(node)
            stems.append(stem)
        found = tuple(nodes)
        casting = self._moulds.castings.get(found) or self._moulds.cast(self._domain, found, asked)
        if casting is None:
            return None
        for position in casting.blanks:
            stems[position] = ""
        known = casting.plan
        return Plan(
            asked,
            known.steps,
            tuple(stems),
            is_kept=known.is_kept,
            survives_outage=known.survives_outage,
            has_extras=known.has_extras,
            changing=None if known.changing is None else Changing(is_explicit=False),
        )
