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
from dataclasses import dataclass, replace

from ratelimit.accounting import RuleStats, account_refund
from ratelimit.descriptor import Phase
from ratelimit.draw import Algorithm, Draw, Op, Role, Standing
from ratelimit.limits import Unit
from ratelimit.plan import Counting, Plan, Step
from ratelimit.settings import ModeSettings
from ratelimit.spans import Spans
from ratelimit.store import Admission
from ratelimit.verdict import Status

_RESERVING = {Op.RESERVE, Op.AUTO}
_WITHOUT_HOLDS = {Op.RESERVE: Op.CHARGE, Op.SETTLE: Op.FORCE, Op.AUTO: Op.CHARGE}


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
        return Op.REFUND
    if step.phase is Phase.LOOK:
        return Op.CHARGE
    if reserve is None:
        is_late = step.phase is Phase.UNSAID and hits > 0 and rule is not None and rule.modes.is_exhausted
        return Op.FORCE if is_late or step.phase is Phase.CHARGE else Op.CHARGE
    if step.phase is Phase.CHARGE:
        return Op.SETTLE
    if hits == 0 or step.phase is Phase.CHECK:
        return Op.RESERVE
    return Op.AUTO if request_id else Op.SETTLE


def roles(plan: Plan, modes: ModeSettings) -> Sequence[Role]:
    """Return what each step's being over means for the request; the folding of `ratelimit.folding`, said beforehand."""
    if modes.shadow_mode:
        return [Role.SHADOW] * len(plan.steps)
    if modes.quota_mode:
        # A descriptor that nothing limits is a quota that is never over, so the request is never denied.
        is_never = any(step.rule is None for step in plan.steps)
        return [Role.SHADOW if is_never else Role.QUOTA] * len(plan.steps)
    return [_role(step) for step in plan.steps]


def _role(step: Step) -> Role:
    rule = step.rule
    if rule is None or rule.shadow_mode:
        return Role.SHADOW
    return Role.QUOTA if rule.quota_mode else Role.BLOCK


def admission(  # noqa: PLR0913, PLR0917 - what a request is, and what is the batch's
    plan: Plan, hits: int, request_id: str, deadline: float, wish: Wish | None, modes: ModeSettings, spans: Spans
) -> Admission:
    """Return what a request wants of its counters."""
    draws: list[Draw] = []
    is_kept = plan.is_kept or wish is not None
    # Most requests are one charge on one counter: by the same rules, without the loops.
    if wish is None and len(plan.steps) == 1 and len(plan.steps[0].countings) == 1:
        [step], [role] = plan.steps, roles(plan, modes)
        [counting] = step.countings
        if not counting.terms.hold_ms and step.phase is not Phase.LOOK:
            cost = step.cost(hits)
            draw = draw_of(counting, _fitting(op_of(step, cost, request_id), counting), cost, role, request_id, spans)
            return Admission([draw], deadline, is_kept and cost > 0)
    for step, role in zip(plan.steps, roles(plan, modes), strict=True):
        cost = 0 if step.phase is Phase.LOOK else step.cost(hits)
        op = wish.op if wish is not None else op_of(step, cost, request_id)
        for counting in step.countings:
            wanted = _fitting(op, counting)
            spent = 0 if wish is not None and wish.is_look else _hits(step, wanted, cost)
            draw = draw_of(counting, wanted, spent, role, request_id, spans)
            draws.append(draw if wish is None or not wish.life_ms else replace(draw, life_ms=wish.life_ms))
            is_kept |= wanted in _RESERVING
    return Admission(draws, deadline, is_kept and any(draw.hits for draw in draws))


def _fitting(op: Op, counting: Counting) -> Op:
    """Return what an operation is on a counter that has no holds."""
    return op if counting.terms.hold_ms else _WITHOUT_HOLDS.get(op, op)


def _hits(step: Step, op: Op, cost: int) -> int:
    if op is not Op.RESERVE or cost > 0 or step.rule is None:
        return cost
    reserve = step.rule.modes.reserve
    return reserve.default if reserve is not None else 1


def draw_of(counting: Counting, op: Op, hits: int, role: Role, request_id: str, spans: Spans) -> Draw:
    """Return a draw on one counter, in the window of this batch."""
    terms, limit = counting.terms, counting.limit
    is_per_second = limit.unit is Unit.SECOND
    if terms.algorithm is Algorithm.REFERENCE:
        span = spans.of(limit)
        return Draw(counting.stem + span.suffix, op, hits, terms, role, request_id, 0, span.ttl_seconds, is_per_second)
    if terms.algorithm is Algorithm.FIXED_WINDOW:
        window = spans.of(limit).window
        return Draw(counting.stem, op, hits, terms, role, request_id, window.start, window.end, is_per_second)
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
    limit = counting.limit
    if counting.terms.algorithm is Algorithm.REFERENCE:
        reset = spans.of(limit).reset_seconds
    else:
        reset = -(-standing.reset_ms // 1000)
    left = counting.terms.capacity - standing.after - standing.held
    return Status(standing.is_over, limit, max(0, left), reset)


def _is_tighter(one: Status, other: Status) -> bool:
    if one.is_over != other.is_over:
        return one.is_over
    return one.reset_seconds > other.reset_seconds if one.is_over else one.remaining < other.remaining


def _account(step: Step, draw: Draw, standing: Standing, near: int, stats: RuleStats) -> None:
    """Count hits; a reservation that is let through is counted when it is charged."""
    if draw.op is Op.REFUND:
        account_refund(stats, draw.hits)
        return
    if draw.op is Op.RELEASE or (draw.op is Op.RESERVE and not standing.is_over):
        return
    stats.total_hits += draw.hits
    if standing.is_over:
        stats.over_limit += draw.hits
        stats.shadow_mode += draw.hits if step.rule is not None and step.rule.shadow_mode else 0
        return
    stats.within_limit += draw.hits
    if standing.after > near:
        stats.near_limit += min(draw.hits, standing.after - near)
