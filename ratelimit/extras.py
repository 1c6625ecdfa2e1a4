"""What a rule adds to an answer: a body and headers for who is refused, headers upstream for who is near the limit.

The body and the headers of the rule that refused are the ones sent: the first in the order of the descriptors, if
several did. Soft limits mark a request that is let through, each with its own headers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ratelimit.modes import TEMPLATE_WORDS, Denied, Soft
from ratelimit.plan import Plan, Step
from ratelimit.rules import Rule
from ratelimit.verdict import Status

Header = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Extras:
    """Beside the statuses."""

    response_headers: Sequence[Header] = ()
    request_headers: Sequence[Header] = ()
    body: bytes = b""


NOTHING = Extras()


def extras(plan: Plan, statuses: Sequence[Status], *, is_over: bool) -> Extras:
    """Return what the rules of a request add to its answer."""
    told = zip(plan.steps, statuses, strict=True)
    if not is_over:
        return Extras(request_headers=[header for step, status in told for header in _soft(step, status)])
    for step, status in told:
        if status.is_over and step.rule is not None and step.rule.modes.denied is not None:
            return _denied(step.rule, step.rule.modes.denied, status)
    return NOTHING


def _soft(step: Step, status: Status) -> Iterator[Header]:
    soft: Soft | None = step.rule.modes.soft if step.rule is not None else None
    if soft is None or status.limit is None:
        return
    capacity = status.limit.capacity
    if capacity - status.remaining >= soft.at * capacity:
        yield from soft.headers


def _denied(rule: Rule, denied: Denied, status: Status) -> Extras:
    is_json = denied.media_type == "application/json"
    values = (
        str(status.limit.amount if status.limit else 0),
        str(status.remaining),
        str(status.reset_seconds),
        status.limit.words if status.limit else "",
        json.dumps(rule.path)[1:-1] if is_json else rule.path,
    )
    words = dict(zip(TEMPLATE_WORDS, values, strict=True))
    headers = [(name, _filled(text, words)) for name, text in denied.headers]
    names = {name for name, _ in headers}
    if "retry-after" not in names:
        headers.append(("retry-after", str(status.reset_seconds)))
    if denied.media_type and "content-type" not in names:
        headers.append(("content-type", denied.media_type))
    return Extras(response_headers=headers, body=_filled(denied.body, words).encode())


def _filled(template: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        template = template.replace(word, value)
    return template
