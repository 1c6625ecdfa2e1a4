"""The log of denials: which rule, where it is written; sampled, and never a value that only the request holds."""

from __future__ import annotations

import logging
import math

from ratelimit.plan import Plan
from ratelimit.verdict import Verdict

_log = logging.getLogger(__name__)


class DenialLog:
    """Writes so many denials a second at most, and with the next how many were left out."""

    def __init__(self, per_second: float) -> None:
        self._interval_seconds = 1 / per_second if per_second > 0 else math.inf
        self._next = -math.inf if per_second > 0 else math.inf
        self._left_out = 0

    def note(self, plan: Plan, verdict: Verdict, now: float) -> None:
        """Take note of a request that was denied, at `now` in steady seconds."""
        if now < self._next:
            self._left_out += 1
            return
        self._next = now + self._interval_seconds
        if _log.isEnabledFor(logging.INFO):
            self._write(plan, verdict)
        self._left_out = 0

    def _write(self, plan: Plan, verdict: Verdict) -> None:
        for step, status in zip(plan.steps, verdict.statuses, strict=True):
            # Of a rule with several limits, the status names the one that denied.
            rule, denying = step.rule, status.limit
            if status.is_over and rule is not None and denying is not None:
                place = f"{rule.where.file}:{rule.where.line}" if rule.where.line else rule.where.file
                limit = f"{denying.amount} per {denying.words}"
                # %r, because names of overrides come from callers, and a line end in one would forge a line.
                _log.info(
                    "denied by %r (%s): %s; %d denials before were not logged",
                    rule.path,
                    place,
                    limit,
                    self._left_out,
                    extra={"fields": {"rule": rule.path, "place": place, "limit": limit, "left_out": self._left_out}},
                )
