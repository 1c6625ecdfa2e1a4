"""What a new set of rules does to the counters of the old one, in words for the log.

A changed amount keeps what is used. A changed window or algorithm counts on other counters: they begin at 0, and the
old ones leave with their windows. Only the reference's keys may be the same before and after: they say when a window
began, not how long it is.
"""

from __future__ import annotations

from collections.abc import Iterator

from ratelimit.limits import Limit
from ratelimit.rules import Rule, RuleSet

_OWN = "its counters begin at 0"
_PLAIN = "its counters begin at 0, or go on where both windows began at one moment"


def changes(old: RuleSet, new: RuleSet) -> Iterator[str]:
    """Return a sentence for each rule whose counters begin anew."""
    before = {rule.path: rule for domain in old.domains.values() for rule in domain.rules()}
    for domain in new.domains.values():
        for rule in domain.rules():
            known = before.get(rule.path)
            if known is not None and known.limits and rule.limits and _counted(known) != _counted(rule):
                is_plain = known.is_counted_plainly and rule.is_counted_plainly
                yield (
                    f"{rule.where.file}:{rule.where.line}: {rule.path} counted {_told(known)} and now counts {_told(rule)}: "
                    f"{_PLAIN if is_plain else _OWN}, what was spent leaves with the old windows"
                )


def _counted(rule: Rule) -> tuple[object, ...]:
    return rule.modes.has_companions, *sorted(map(_words, rule.limits))


def _told(rule: Rule) -> str:
    return ", ".join(map(_words, rule.limits))


def _words(limit: Limit) -> str:
    return f"per {limit.span} by {limit.algorithm.value}"
