"""What a request means under the rules now loaded: planned once, charged as often as it comes.

    bytes ──▶ Request ──▶ Plan (one Step per descriptor) ──▶ charges, when the time is known

A plan holds neither a window's start nor anything that was counted, so it stays true until the
rules change. Where a rule `replaces` others by name, those steps have no rule.

    Plan ── Planner.under ──▶ the plan under the dynamic limits of this moment: itself, if none of its own is in force

Amounts that may change while rules do not are no part of it. It remembers what was made of it under the last ones, and that
is made anew only when one of its own has changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import floor

from ratelimit.accounting import near_mark
from ratelimit.descriptor import Asked, Descriptor, Entry, Phase, Request
from ratelimit.draw import MEMORY_LIVES, Algorithm, Role, Terms
from ratelimit.dynamic_limit import Place
from ratelimit.known_limits import KnownLimits
from ratelimit.limits import Limit
from ratelimit.modes import Modes, OnStoreError, Reserve
from ratelimit.rules import Domain, Match, Rule, RuleSet
from ratelimit.specs import Where
from ratelimit.store import COUNT_MAX
from ratelimit.windows import Every

# Names of metrics may carry values that callers choose; what is longer is cut.
STATS_KEY_CHARACTERS_MAX = 1_024


@dataclass(frozen=True, slots=True, eq=False)
class Counting:
    """One counter of our own modes."""

    limit: Limit
    stem: str
    """Its name; for a counter of the reference, up to the start of the window."""
    terms: Terms
    near_mark: int


# Not frozen, as all that is made for every new request: it costs a microsecond each.
@dataclass(slots=True, eq=False)
class Step:
    """One descriptor, matched."""

    rule: Rule | None
    """None: nothing matched, or another rule of the request replaced it."""
    stats_key: str = ""
    near_mark: int = 0
    """Hits above it are near the limit."""
    hits: int | None = None
    """None: the request's own hits."""
    is_refund: bool = False
    phase: Phase = Phase.UNSAID
    kind: str = ""
    countings: tuple[Counting, ...] = ()
    """One for each limit, where the rule is counted by modes of our own; else none."""
    role: Role = Role.SHADOW
    """What its being over means for the request, unless a mode of the whole service says otherwise."""

    def cost(self, hits: int) -> int:
        """Return what this step spends of a request's hits, after weighting."""
        if self.hits is not None:
            return self.hits
        return hits if self.rule is None or not self.rule.modes.weights else self.rule.modes.cost(hits, self.kind)

    def spending(self, hits: int) -> Step:
        """Return the step of a request that spends this."""
        # Written out, as below: `replace` asks every field of its class, at three times the price.
        return Step(
            self.rule, self.stats_key, self.near_mark, hits, self.is_refund, self.phase, self.kind, self.countings,
            self.role,
        )  # fmt: skip


NO_RULE = Step(None)

Amounts = Mapping[str, int | None]
"""Dynamic ones, by name."""


@dataclass(slots=True, eq=False)
class Changing:
    """What dynamic limits make of a plan."""

    is_explicit: bool
    names: Sequence[str] = ()
    """Of those that may be in force in place of its rules'; found out when there is a first one anywhere."""
    stamp: int = -1
    """Of the limits that were looked at last."""
    amounts: Sequence[int | None] = ()
    plan: Plan | None = None
    """What they make of it; None: nothing else."""


@dataclass(slots=True, eq=False)
class Plan:
    """A request, matched."""

    request: Asked
    steps: tuple[Step, ...]
    stems: tuple[str, ...]
    """Counter key of each step up to the start of the window; empty where it has none."""
    is_known_domain: bool = True
    is_plain: bool = True
    """All of it is counted and asked as the reference does."""
    is_kept: bool = False
    """All or nothing."""
    survives_outage: bool = False
    """Every rule says what to answer while the counters cannot be reached."""
    has_extras: bool = False
    """Some rule adds something to the answer."""
    changing: Changing | None = None
    """None: dynamic limits do not matter to it, or it is under some already."""

    _adds_up: bool | None = None

    @property
    def adds_up(self) -> bool:
        """Whether calls that follow each other may be charged as one: what each leaves is known from what all leave.

        Not so where a counter is charged twice by one call, given back to, or answered for without the store. Found
        out when it is first asked, since most plans are never asked.
        """
        if self._adds_up is None:
            counted = zip(self.steps, self.stems, strict=True)
            stems = [stem for step, stem in counted if step.rule is not None and step.rule.limit is not None]
            is_refund = any(step.is_refund for step in self.steps)
            is_simple = self.is_plain and not self.survives_outage and not is_refund
            self._adds_up = is_simple and len(set(stems)) == len(stems)
        return self._adds_up

    def with_hits(self, own_hits: Sequence[int | None]) -> Plan:
        """Return the plan of a request that differs in the hits its descriptors carry, None where they carry none."""
        steps = [
            step if hits is None or step.rule is None else step.spending(_weighed(step.rule, hits, step.kind))
            for step, hits in zip(self.steps, own_hits, strict=True)
        ]
        return Plan(
            self.request, tuple(steps), self.stems, self.is_known_domain, self.is_plain, self.is_kept,
            self.survives_outage, self.has_extras,
        )  # fmt: skip

    def with_amount(self, hits: int, kinds: Sequence[tuple[str, int]]) -> Plan:
        """Return the plan of a request all of whose descriptors spend this."""
        steps = [
            step if step.rule is None else step.spending(_total(step.rule, hits, "", kinds)) for step in self.steps
        ]
        return replace(self, steps=tuple(steps), changing=None)


class Planner:
    """Finds the rule of each descriptor and names its counter."""

    def __init__(self, *, key_prefix: str = "", near_ratio: float = 0.8, limits: KnownLimits | None = None) -> None:
        self._limits = KnownLimits() if limits is None else limits
        self._key_prefix = key_prefix
        self._near_ratio = near_ratio

    def plan(self, request: Request, rules: RuleSet, *, is_explicit: bool = False) -> Plan:
        """Match every descriptor of `request`; `is_explicit` where the caller will say what it wants of the counters."""
        plan = self._plan(request, rules, {}, is_explicit=is_explicit)
        if rules.has_ceilings and any(step.rule is not None and step.rule.has_ceiling for step in plan.steps):
            plan.changing = Changing(is_explicit)
        return plan

    def under(self, plan: Plan, rules: RuleSet) -> Plan:
        """Return a plan under the dynamic limits of this moment; `rules` are those that it was made by."""
        changing, limits = plan.changing, self._limits
        if changing is None or not limits:
            return plan
        if changing.stamp != limits.stamp:
            changing.names = changing.names or self._names_of(plan.request, rules)
            amounts = [limits.get(name) for name in changing.names]
            if changing.amounts != amounts:
                changing.amounts, changing.plan = amounts, None
                if any(amount is not None for amount in amounts):
                    mine = dict(zip(changing.names, amounts, strict=True))
                    changing.plan = self._plan(plan.request, rules, mine, is_explicit=changing.is_explicit)
            changing.stamp = limits.stamp
        return changing.plan or plan

    def _names_of(self, request: Asked, rules: RuleSet) -> Sequence[str]:
        domain = rules.domains[request.domain]
        matches = [domain.match(each.entries) for each in request.descriptors if each.override is None]
        return [name for match in matches if match is not None for name in _names(domain, match)]

    def _plan(self, request: Asked, rules: RuleSet, amounts: Amounts, *, is_explicit: bool) -> Plan:
        domain = rules.domains.get(request.domain)
        if domain is None:
            count = len(request.descriptors)
            return Plan(request, (NO_RULE,) * count, ("",) * count, is_known_domain=False)
        found = [self._step(domain, descriptor, amounts, is_explicit=is_explicit) for descriptor in request.descriptors]
        steps = without_replaced([step for step, _ in found])
        stems = tuple([stem if step.rule is not None else "" for step, (_, stem) in zip(steps, found, strict=True)])
        is_plain = not is_explicit and all(
            step.rule is None or step.rule.limit is None or not step.countings for step in steps
        )
        if not is_plain:
            counted = zip(steps, stems, strict=True)
            steps = tuple(self._joining(step, stem, is_explicit=is_explicit) for step, stem in counted)
        return Plan(
            request,
            steps,
            stems,
            is_plain=is_plain,
            is_kept=any(map(_keeps, steps)),
            survives_outage=_survive(steps),
            has_extras=any(step.rule is not None and step.rule.modes.has_extras for step in steps),
        )

    def _step(self, domain: Domain, descriptor: Descriptor, amounts: Amounts, *, is_explicit: bool) -> tuple[Step, str]:
        """Return a step and its stem."""
        if descriptor.override is not None:
            return self._override(domain, descriptor, descriptor.override)
        match = domain.match(descriptor.entries)
        if match is None:
            return NO_RULE, ""
        if amounts and match.rule.has_ceiling:
            match.rule = match.rule.under([amounts.get(name) for name in _names(domain, match)])
        stem = self.stem(domain.name, match.counted)
        step = self._counting(match.rule, match.stats_key, descriptor)
        if match.rule.limit is None or (not domain.hash_tag and match.rule.is_counted_plainly):
            return step, stem
        return replace(step, countings=tuple(self._countings(domain, match, stem, is_explicit=is_explicit))), stem

    def _countings(self, domain: Domain, match: Match, plain_stem: str, *, is_explicit: bool) -> Iterator[Counting]:
        modes = match.rule.modes
        for limit in match.rule.limits:
            near = near_mark(limit.amount, self._near_ratio)
            if limit.is_own or match.rule.others or modes.has_companions or domain.hash_tag:
                stem, known = own_stem(self._key_prefix, domain, match.counted, limit), terms(limit, modes)
            else:
                stem, known = plain_stem, reference_terms(limit, modes)
            yield Counting(limit, stem, holding(known) if is_explicit else known, near)

    def _joining(self, step: Step, stem: str, *, is_explicit: bool) -> Step:
        """Have a plain rule be counted with those of our own, of which it is all or nothing."""
        rule = step.rule
        if rule is None or rule.limit is None or step.countings:
            return step
        known = reference_terms(rule.limit, rule.modes)
        counting = Counting(rule.limit, stem, holding(known) if is_explicit else known, step.near_mark)
        return replace(step, countings=(counting,))

    def _override(self, domain: Domain, descriptor: Descriptor, limit: Limit) -> tuple[Step, str]:
        """Plan a limit that the request carries: no rule's modes, metrics under the request's own values."""
        stats_key = domain.override_key(descriptor.entries)
        rule = Rule(limit, stats_key, Where("request"))
        return self._counting(rule, stats_key, descriptor), self.stem(domain.name, descriptor.entries)

    def _counting(self, rule: Rule, stats_key: str, descriptor: Descriptor) -> Step:
        near = near_mark(rule.limit.amount, self._near_ratio) if rule.limit else 0
        hits = descriptor.hits
        if hits is not None or descriptor.kinds:
            hits = _total(rule, hits or 0, descriptor.kind, descriptor.kinds)
        return Step(
            rule,
            stats_key[:STATS_KEY_CHARACTERS_MAX],
            near,
            hits,
            descriptor.is_refund,
            descriptor.phase,
            descriptor.kind,
            role=_role(rule),
        )

    def stem(self, domain: str, entries: Sequence[Entry]) -> str:
        """Return the counter key of a descriptor, up to the start of the window."""
        # The reference's form to the letter: its replicas and ours count on the same keys.
        return f"{self._key_prefix}{domain}_" + "".join(f"{key}_{value}_" for key, value in entries)


def _names(domain: Domain, match: Match) -> Sequence[str]:
    """Return the names of the dynamic limits of a descriptor, one for each limit of its rule."""
    return [Place.of(domain.name, match.counted, limit).name for limit in match.rule.limits]


def terms(limit: Limit, modes: Modes) -> Terms:
    """Return how a counter of our own is asked."""
    window_ms = 0
    if limit.algorithm is not Algorithm.FIXED_WINDOW and isinstance(limit.windowing, Every):
        window_ms = limit.windowing.seconds * 1000
    hold_max = modes.reserve.hold_max(limit.capacity) if modes.reserve else 0
    return Terms(
        limit.algorithm,
        limit.amount,
        window_ms,
        limit.capacity,
        modes.is_exhausted,
        modes.reserve.ttl_ms if modes.reserve else 0,
        hold_max,
        modes.remember_ms,
        *_lease(limit, modes),
    )


def reference_terms(limit: Limit, modes: Modes) -> Terms:
    """Return how a counter of the reference is asked, where the request is more than its way of asking."""
    lease_ms, lease_max = _lease(limit, modes)
    return Terms(
        Algorithm.REFERENCE,
        limit.amount,
        0,
        limit.amount,
        modes.is_exhausted,
        lease_ms=lease_ms,
        lease_max=lease_max,
    )


def _lease(limit: Limit, modes: Modes) -> tuple[int, int]:
    lease = modes.lease
    return (0, 0) if lease is None else (lease.ttl_ms, max(1, floor(lease.max_fraction * limit.capacity)))


# Bounded: overrides make terms without end.
@lru_cache(maxsize=4096)
def holding(known: Terms) -> Terms:
    """Return the terms for a caller that says what it wants: any counter holds, and remembers ids as long as holds.

    A rule without `reserve` holds by the defaults of `Reserve`. What the unmodified Envoy asks of it does not look at
    holds: only a rule that says `reserve` is held to spent + held by all its callers.
    """
    reserve = Reserve()
    hold_ms = known.hold_ms or reserve.ttl_ms
    return replace(
        known,
        hold_ms=hold_ms,
        hold_max=known.hold_max or reserve.hold_max(known.capacity),
        remember_ms=max(known.remember_ms, hold_ms * MEMORY_LIVES),
    )


# Version of the names below: other versions count elsewhere.
_KEY_VERSION = "w1"
_ESCAPED = str.maketrans({character: f"%{ord(character):02x}" for character in "%{}|=#"})


def own_stem(prefix: str, domain: Domain, entries: Sequence[Entry], limit: Limit) -> str:
    """Return the name of a counter of our own: injective, and with a hash tag, so that companions share its slot.

    All of the name is the tag, or the entries that the domain's `hash_tag` names, if the descriptor begins with them.
    The window and the algorithm are in it, the amount is not: a changed amount keeps what is used.
    """
    parts = [domain.name.translate(_ESCAPED)]
    parts += [f"{key.translate(_ESCAPED)}={value.translate(_ESCAPED)}" for key, value in entries]
    tagged = len(parts)
    if domain.hash_tag and tuple(key for key, _ in entries[: len(domain.hash_tag)]) == domain.hash_tag:
        tagged = 1 + len(domain.hash_tag)
    rest = "".join(f"|{part}" for part in parts[tagged:])
    tag = limit.windowing.tag if limit.windowing is not None else limit.span
    return f"{prefix}{_KEY_VERSION}:{{{'|'.join(parts[:tagged])}}}{rest}#{limit.algorithm.value[0]}{tag}"


def _role(rule: Rule) -> Role:
    if rule.shadow_mode:
        return Role.SHADOW
    return Role.QUOTA if rule.quota_mode else Role.BLOCK


def _survive(steps: Sequence[Step]) -> bool:
    modes = [step.rule.modes.on_store_error for step in steps if step.rule is not None and step.rule.limit is not None]
    return bool(modes) and OnStoreError.ERROR not in modes


def _keeps(step: Step) -> bool:
    rule = step.rule
    return rule is not None and rule.limit is not None and rule.modes.is_kept and not rule.shadow_mode


def _weighed(rule: Rule, hits: int, kind: str) -> int:
    hits = min(hits, COUNT_MAX)
    return rule.modes.cost(hits, kind) if rule.modes.weights else hits


def _total(rule: Rule, hits: int, kind: str, kinds: Sequence[tuple[str, int]]) -> int:
    total = _weighed(rule, hits, kind)
    return min(COUNT_MAX, total + sum(_weighed(rule, count, each) for each, count in kinds)) if kinds else total


def without_replaced(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Drop the rules whose name another rule of the request replaces; its own counting is not asked."""
    replaced = {name for step in steps if step.rule for name in step.rule.replaces}
    if not replaced:
        return tuple(steps)
    return tuple(NO_RULE if step.rule and step.rule.name in replaced else step for step in steps)
