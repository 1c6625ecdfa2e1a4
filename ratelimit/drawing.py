"""Between plans and counters of our own modes: steps to draws, standings to statuses.

    step (one descriptor) ──▶ a draw for each of its limits ──▶ standings ──▶ the tightest is the descriptor's status

What an unmodified Envoy means is read off its call:

    rule without `reserve`     0 hits look · others are charged, and may be refused · phase `charge`: never refused
      and `check: exhausted`   0 hits are its check, so hits are the charge of work that was done: counted, whatever is
                               left, or a budget would never be used up · phase `check`: may be refused
    phase `look`               0 hits that neither spend nor reserve, whatever the rule
    rule with `reserve`        0 hits reserve the default · with an id, the first call reserves and later ones settle ·
                               without one, hits settle the oldest hold that has none · phase `charge`: settle
    a refund                   gives back; with the id of a hold it releases that instead

Who speaks an API of ours says it (`Wish`), and is never charged for what was refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ratelimit.accounting import RuleStats, account_refund
from ratelimit.descriptor import Phase
from ratelimit.draw import Algorithm, Draw, Op, Role, Standing, Standings
from ratelimit.limits import Unit
from ratelimit.plan import Counting, Plan, Step
from ratelimit.settings import ModeSettings
from ratelimit.spans import Spans
from ratelimit.store import Admission
from ratelimit.verdict import Status

# Names of this module and no members of sets: an enum is hashed in Python, for every draw of every call.
_CHARGE, _FORCE, _REFUND, _RESERVE, _SETTLE = Op.CHARGE, Op.FORCE, Op.REFUND, Op.RESERVE, Op.SETTLE
_RELEASE, _AUTO = Op.RELEASE, Op.AUTO
_FIXED_WINDOW, _REFERENCE, _SECOND = Algorithm.FIXED_WINDOW, Algorithm.REFERENCE, Unit.SECOND


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller wants of its counters, where it can say so."""

    op: Op
    is_look: bool = False
    """Say whether the hits would fit, and spend none."""
    life_ms: int = 0
    """Of a hold, at most what the rule gives; 0: that."""
    admitted_at: float = 0.0
    """Unix time at which it was reserved what is settled now, as long as its hold may live; 0: not so. A counter of the
    reference, which has its window in its name, is that moment's."""


def op_of(step: Step, hits: int, request_id: str) -> Op:
    """Return what a step wants, where the caller speaks Envoy's protocol and can only hint at it."""
    rule = step.rule
    reserve = rule.modes.reserve if rule is not None else None
    if step.is_refund:
        return _REFUND
    if step.phase is Phase.LOOK:
        return _CHARGE
    if reserve is None:
        is_late = step.phase is Phase.UNSAID and hits > 0 and rule is not None and rule.modes.is_exhausted
        return _FORCE if is_late or step.phase is Phase.CHARGE else _CHARGE
    if step.phase is Phase.CHARGE:
        return _SETTLE
    if hits == 0 or step.phase is Phase.CHECK:
        return _RESERVE
    return _AUTO if request_id else _SETTLE


def roles(plan: Plan, modes: ModeSettings) -> Sequence[Role]:
    """Return what each step's being over means for the request; the folding of `ratelimit.folding`, said beforehand."""
    if modes.shadow_mode:
        return [Role.SHADOW] * len(plan.steps)
    if modes.quota_mode:
        # A descriptor that nothing limits is a quota that is never over, so the request is never denied.
        is_never = any(step.rule is None for step in plan.steps)
        return [Role.SHADOW if is_never else Role.QUOTA] * len(plan.steps)
    return [step.role for step in plan.steps]


def admission(  # noqa: PLR0913, PLR0917 - what a request is, and what is the batch's
    plan: Plan, hits: int, request_id: str, deadline: float, wish: Wish | None, modes: ModeSettings, spans: Spans
) -> Admission:
    """Return what a request wants of its counters."""
    is_kept = plan.is_kept or wish is not None
    # Most requests are one thing wanted of one counter: by the same rules, without the loops.
    if wish is None and len(plan.steps) == 1 and len(plan.steps[0].countings) == 1:
        return _lone(plan.steps[0], hits, request_id, deadline, roles(plan, modes)[0], spans, is_kept=is_kept)
    draws: list[Draw] = []
    spends = False
    for step, role in zip(plan.steps, roles(plan, modes), strict=True):
        cost = 0 if step.phase is Phase.LOOK else step.cost(hits)
        op = wish.op if wish is not None else op_of(step, cost, request_id)
        for counting in step.countings:
            wanted = op if counting.terms.hold_ms else _without_holds(op)
            spent = cost
            if wanted is _RESERVE or wanted is _AUTO:
                is_kept, spent = True, cost or _least(step)
            if wish is not None and wish.is_look:
                spent = 0
            draw = draw_of(counting, wanted, spent, role, request_id, spans)
            if wish is not None:
                draw.life_ms = wish.life_ms
            draws.append(draw)
            spends = spends or spent > 0
    return Admission(draws, deadline, is_kept and spends)


def _lone(  # noqa: PLR0913 - as above
    step: Step, hits: int, request_id: str, deadline: float, role: Role, spans: Spans, *, is_kept: bool
) -> Admission:
    [counting] = step.countings
    cost = 0 if step.phase is Phase.LOOK else step.cost(hits)
    op = op_of(step, cost, request_id)
    if not counting.terms.hold_ms:
        op = _without_holds(op)
    elif op is _RESERVE or op is _AUTO:
        is_kept, cost = True, cost or _least(step)
    return Admission([draw_of(counting, op, cost, role, request_id, spans)], deadline, is_kept and cost > 0)


def _without_holds(op: Op) -> Op:
    """Return what an operation is on a counter that has no holds."""
    if op is _RESERVE or op is _AUTO:
        return _CHARGE
    return _FORCE if op is _SETTLE else op


def _least(step: Step) -> int:
    """Return what is reserved where the caller names no hits."""
    reserve = step.rule.modes.reserve if step.rule is not None else None
    return reserve.default if reserve is not None else 1


def draw_of(counting: Counting, op: Op, hits: int, role: Role, request_id: str, spans: Spans) -> Draw:
    """Return a draw on one counter, in the window of this batch."""
    terms, limit = counting.terms, counting.limit
    algorithm, is_per_second = terms.algorithm, limit.unit is _SECOND
    if algorithm is _FIXED_WINDOW:
        window = spans.of(limit).window
        return Draw(counting.stem, op, hits, terms, role, request_id, window.start, window.end, is_per_second)
    if algorithm is _REFERENCE:
        span = spans.of(limit)
        return Draw(counting.stem + span.suffix, op, hits, terms, role, request_id, 0, span.ttl_seconds, is_per_second)
    return Draw(counting.stem, op, hits, terms, role, request_id, is_per_second=is_per_second)


def told(plan: Plan, hits: int, wish: Wish, standings: Sequence[Standing], spans: Spans) -> Sequence[Standing]:
    """Return standings as a caller is told them: to hits that were only looked at, and with every reset."""
    costs = [(counting, step.cost(hits)) for step in plan.steps for counting in step.countings]
    return [
        _told(counting, cost if wish.is_look else 0, standing, spans)
        for (counting, cost), standing in zip(costs, standings, strict=True)
    ]


def _told(counting: Counting, looked: int, standing: Standing, spans: Spans) -> Standing:
    terms = counting.terms
    if looked and standing.after + standing.held + looked > terms.capacity:
        standing = standing._replace(is_over=True)
    if terms.algorithm is Algorithm.REFERENCE:
        # To the millisecond: who spends what he was granted elsewhere must know when its window ends.
        end = spans.of(counting.limit).window.end
        return standing._replace(reset_ms=max(0, math.floor((end - spans.now) * 1000)))
    return standing


def status(
    step: Step, draws: Sequence[Draw], standings: Sequence[Standing], stats: RuleStats | None, spans: Spans
) -> Status:
    """Return the status of one descriptor, from those of its limits; count in `stats` what it did."""
    if len(step.countings) == 1:
        return _finished(step, 0, _candidate(step.countings[0], standings[0], spans), draws, standings, stats)
    tightest: Status | None = None
    for counting, standing in zip(step.countings, standings, strict=True):
        candidate = _candidate(counting, standing, spans)
        if tightest is None or _is_tighter(candidate, tightest):
            tightest = candidate
    if tightest is None:  # pragma: no cover - steps with countings have at least one
        raise AssertionError
    index = next(i for i, counting in enumerate(step.countings) if counting.limit is tightest.limit)
    return _finished(step, index, tightest, draws, standings, stats)


def statuses(step: Step, draw: Draw, answers: Sequence[Standings], stats: RuleStats, spans: Spans) -> Sequence[Status]:
    """Return what `status` returns for each of several equal draws on the one limit of a descriptor."""
    [counting] = step.countings
    limit, capacity = counting.limit, counting.terms.capacity
    standings = [standing for (standing,) in answers]
    _account_each(step, draw, standings, counting.near_mark, stats)
    is_shadow = step.rule is not None and step.rule.shadow_mode
    is_reference, reset_seconds = counting.terms.algorithm is _REFERENCE, spans.of(limit).reset_seconds
    return [
        Status(
            is_over and not is_shadow,
            limit,
            max(0, capacity - after - held),
            reset_seconds if is_reference else -(-reset_ms // 1000),
        )
        for _, after, held, is_over, reset_ms, _ in standings
    ]


def _finished(
    step: Step,
    index: int,
    tightest: Status,
    draws: Sequence[Draw],
    standings: Sequence[Standing],
    stats: RuleStats | None,
) -> Status:
    if stats is not None:
        _account(step, draws[index], standings[index], step.countings[index].near_mark, stats)
    if step.rule is not None and step.rule.shadow_mode:
        tightest.is_over = False
    return tightest


def _candidate(counting: Counting, standing: Standing, spans: Spans) -> Status:
    limit, terms = counting.limit, counting.terms
    reset = spans.of(limit).reset_seconds if terms.algorithm is _REFERENCE else -(-standing.reset_ms // 1000)
    left = terms.capacity - standing.after - standing.held
    return Status(standing.is_over, limit, max(0, left), reset)


def _is_tighter(one: Status, other: Status) -> bool:
    if one.is_over != other.is_over:
        return one.is_over
    return one.reset_seconds > other.reset_seconds if one.is_over else one.remaining < other.remaining


def _account_each(step: Step, draw: Draw, standings: Sequence[Standing], near: int, stats: RuleStats) -> None:
    """Count the hits of equal draws."""
    if draw.op is _REFUND or draw.op is _RELEASE or any(one.is_over or one.after > near for one in standings):
        for standing in standings:
            _account(step, draw, standing, near, stats)
    elif draw.op is not _RESERVE:
        # None is near the limit, as nearly always: all are summed up as one.
        hits = draw.hits * len(standings)
        stats.total_hits += hits
        stats.within_limit += hits


def _account(step: Step, draw: Draw, standing: Standing, near: int, stats: RuleStats) -> None:
    """Count hits; a reservation that is let through is counted when it is charged."""
    op = draw.op
    if op is _REFUND:
        account_refund(stats, draw.hits)
        return
    if op is _RELEASE or (op is _RESERVE and not standing.is_over):
        return
    stats.total_hits += draw.hits
    if standing.is_over:
        stats.over_limit += draw.hits
        stats.shadow_mode += draw.hits if step.rule is not None and step.rule.shadow_mode else 0
        return
    stats.within_limit += draw.hits
    if standing.after > near:
        stats.near_limit += min(draw.hits, standing.after - near)
