"""What each of the calls is told that follow each other, are equal, and were charged as one."""

from __future__ import annotations

from ratelimit.accounting import RuleStats, account
from ratelimit.plan import Step
from ratelimit.store import COUNT_MAX
from ratelimit.verdict import Status


def stand_each(blank: Status, step: Step, stats: RuleStats, before: int, hits: int, times: int) -> list[Status]:
    """Return the statuses of calls that were charged as one, and account for them."""
    rule, limit, last = step.rule, blank.limit, before + times * hits
    if rule is None or limit is None or last > step.near_mark:
        return [
            _stand_at(blank, step, stats, min(COUNT_MAX, before + number * hits), hits)
            for number in range(1, times + 1)
        ]
    # None is near the limit, as nearly always: all are summed up as one.
    account(stats, before, last, times * hits, limit.amount, step.near_mark, rule.shadow_mode)
    left, reset_seconds = limit.amount - before, blank.reset_seconds
    return [Status(False, limit, left - number * hits, reset_seconds) for number in range(1, times + 1)]


def _stand_at(blank: Status, step: Step, stats: RuleStats, after: int, hits: int) -> Status:
    """Return the status of a call that left a counter at `after`, and account for it."""
    rule, limit = step.rule, blank.limit
    if rule is None or limit is None:  # pragma: no cover - only counted steps have a charge
        return blank
    account(stats, max(0, after - hits), after, hits, limit.amount, step.near_mark, rule.shadow_mode)
    if after > limit.amount:
        return Status(not rule.shadow_mode, limit, 0, blank.reset_seconds)
    return Status(is_over=False, limit=limit, remaining=limit.amount - after, reset_seconds=blank.reset_seconds)
