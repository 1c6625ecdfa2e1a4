"""The tree of rules of each domain, and how a descriptor finds its rule.

    domain ─┬─ key_value ─┬─ key_value …      entry i of a descriptor is looked up at depth i:
            ├─ key_va*    └─ key                 1. the exact composite key
            └─ key                               2. patterns, in the order of the file
                                                 3. the bare key
1. There is no way back: the first that fits at a depth is taken, also if nothing fits below it.
2. A limit counts only at the last entry; a longer or a shorter descriptor does not match.
3. A node without limit and children therefore allows what a broader rule beside it would limit.
4. Key and value are joined by `_` before the look-up (envoyproxy/ratelimit does so, and its
   counters are named that way), so `a_b` and `a`, `b` are one key and may not both be configured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from ratelimit.descriptor import Entry
from ratelimit.limits import Limit
from ratelimit.modes import REFERENCE_MODES, Modes
from ratelimit.specs import JsonValue, Where

Show: TypeAlias = Callable[[str], str]


def plainly(value: str) -> str:
    """Show a value as it is."""
    return value


# Compared by identity: one object is one node of one loaded tree.
@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One node's decision: a limit, or that there is none."""

    limit: Limit | None
    """None: `unlimited`."""
    path: str
    """Composite keys of the configured nodes as they are shown, joined by dots, the domain first."""
    where: Where
    shadow_mode: bool = False
    quota_mode: bool = False
    name: str = ""
    replaces: frozenset[str] = frozenset()
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)
    modes: Modes = REFERENCE_MODES
    others: tuple[Limit, ...] = ()
    """Further limits on the same descriptor."""
    is_counted_plainly: bool = field(init=False)
    """All of it is counted and asked as the reference does; known here, since every new request asks."""
    has_ceiling: bool = field(init=False)
    """Some limit may be changed while it is in force."""

    def __post_init__(self) -> None:
        # The reference has no rule of several limits; windows that begin together would share its counter.
        is_one = not self.others and (self.limit is None or not self.limit.is_own)
        is_plain = self.modes.is_counted_plainly and is_one
        object.__setattr__(self, "is_counted_plainly", is_plain)
        object.__setattr__(self, "has_ceiling", any(limit.ceiling for limit in self.limits))

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Return all of its limits."""
        return () if self.limit is None else (self.limit, *self.others)

    def under(self, amounts: Sequence[int | None]) -> Rule:
        """Return the rule with dynamic amounts in force, None for each limit that has none."""
        limits = [
            limit if amount is None or not limit.ceiling else limit.under(amount)
            for limit, amount in zip(self.limits, amounts, strict=True)
        ]
        return replace(self, limit=limits[0], others=tuple(limits[1:]))


@dataclass(slots=True, eq=False)
class Node:
    """One descriptor of the configuration."""

    composite: str
    rule: Rule | None = None
    shown: str = ""
    """The composite key as metrics and pages have it."""
    children: dict[str, Node] = field(default_factory=dict)
    patterns: list[Pattern] = field(default_factory=list)
    shared_value: str = ""
    """The pattern of a value with `share_threshold`: counted and reported in place of the value."""
    detailed_metric: bool = False
    value_to_metric: bool = False

    def find(self, key: str, composite: str) -> Node | None:
        """Return the child for one entry, given its key and `<key>_<value>`: exact, then the first pattern that fits, then
        the bare key.
        """
        child = self.children.get(composite)
        if child is None:
            for pattern in self.patterns:
                if pattern.fits(composite):
                    return pattern.node
            child = self.children.get(key)
        return child


@dataclass(frozen=True, slots=True)
class Pattern:
    """A composite key with stars, each standing for any run of characters, also none."""

    node: Node
    prefix: str
    middle: tuple[str, ...]
    suffix: str

    def fits(self, composite: str) -> bool:
        """Say whether the fixed parts occur in order and without overlap, both ends anchored."""
        position, end = len(self.prefix), len(composite) - len(self.suffix)
        if end < position or not composite.startswith(self.prefix) or not composite.endswith(self.suffix):
            return False
        for part in self.middle:
            found = composite.find(part, position, end)
            if found < 0:
                return False
            position = found + len(part)
        return True


def pattern(node: Node) -> Pattern:
    """Split a node's composite key at its stars."""
    prefix, *middle, suffix = node.composite.split("*")
    return Pattern(node, prefix, tuple(part for part in middle if part), suffix)


# Not frozen: that costs a microsecond, and one is made for every descriptor of a new request.
@dataclass(slots=True)
class Match:
    """The rule that a descriptor found, and the names that follow from the way to it."""

    rule: Rule
    stats_key: str
    counted: tuple[Entry, ...]
    """The entries that name the counter: shared values are replaced by their pattern."""
    shows_values: bool = False
    """Values are in the stats key, or something else than the values is in the counter's name."""


class Domain:
    """All rules of one domain."""

    def __init__(self, name: str, show: Show = plainly) -> None:
        self.name = name
        self.root = Node(name)
        self.hash_tag: tuple[str, ...] = ()
        """Keys of the leading entries that name the slot of a counter of our own modes."""
        self._show = show
        """What stands for a value in metrics and pages."""

    def match(self, entries: Sequence[Entry]) -> Match | None:
        """Return the rule at the last entry, or None."""
        node, path, has_values = self.root, [], False
        for key, value in entries:
            child = node.find(key, f"{key}_{value}")
            if child is None:
                return None
            path.append(child)
            node = child
            if child.value_to_metric or child.shared_value:
                has_values = True
        if not path or node.rule is None:
            return None
        if not has_values and not node.detailed_metric:
            return Match(node.rule, node.rule.path, tuple(entries))
        counted = tuple((key, step.shared_value or value) for (key, value), step in zip(entries, path, strict=True))
        return Match(node.rule, self._stats_key(path, counted), counted, shows_values=True)

    def _stats_key(self, path: Sequence[Node], counted: Sequence[Entry]) -> str:
        if path[-1].detailed_metric:
            return ".".join([self.name, *(f"{key}_{self._show(value)}" for key, value in counted)])
        steps = zip(path, counted, strict=True)
        return ".".join(
            [self.name, *(self._joined(*entry) if step.value_to_metric else step.shown for step, entry in steps)]
        )

    def override_key(self, entries: Sequence[Entry]) -> str:
        """Return the stats key of a limit that the request carries: its own values."""
        return ".".join([self.name, *(self._joined(*entry) for entry in entries)])

    def _joined(self, key: str, value: str) -> str:
        return joined(key, self._show(value) if value else "")

    def rules(self) -> list[Rule]:
        """List every rule, in the order of the files."""
        found, waiting = [], [self.root]
        while waiting:
            node = waiting.pop()
            if node.rule is not None:
                found.append(node.rule)
            waiting.extend(reversed(node.children.values()))
        return found


def joined(key: str, value: str) -> str:
    """Return the composite key; an empty value adds nothing."""
    return f"{key}_{value}" if value else key


class RuleSet:
    """Everything loaded, as one unit: replaced whole, never changed."""

    def __init__(
        self, domains: Mapping[str, Domain], *, has_ceilings: bool = False, survives_outages: bool = False
    ) -> None:
        self.domains = domains
        self.has_ceilings = has_ceilings
        """Whether dynamic limits are to be looked for at all."""
        self.survives_outages = survives_outages
        """Whether any rule says what to answer while the counters cannot be reached."""

    def dump(self) -> list[str]:
        """List every limit, one line each, in the words of the reference's `/rlconfig`."""
        return [describe(rule) for domain in self.domains.values() for rule in domain.rules()]


def describe(rule: Rule) -> str:
    """Return one line of `/rlconfig`."""
    unit, amount = (rule.limit.span.upper(), rule.limit.amount) if rule.limit else ("UNKNOWN", 0)
    modes = f"shadow_mode: {str(rule.shadow_mode).lower()}, quota_mode: {str(rule.quota_mode).lower()}"
    return f"{rule.path}: unit={unit} requests_per_unit={amount}, {modes}"
