"""From the statuses of descriptors to one answer.

1. A plain rule that is over denies.
2. Quota rules deny only if all of the request's are over. With QUOTA_MODE every descriptor is
   one, also where nothing matched; an unlimited one never is.
3. SHADOW_MODE, last, lets everything pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ratelimit.descriptor import Asked, Descriptor
from ratelimit.plan import Plan, Step
from ratelimit.specs import JsonValue
from ratelimit.verdict import Status


def is_over(steps: Sequence[Step], statuses: Sequence[Status], *, quota_mode: bool) -> bool:
    """Fold the statuses of one request; SHADOW_MODE is the caller's."""
    for status in statuses:
        if status.is_over:
            break
    else:
        return False
    quotas = quotas_over = 0
    for step, status in zip(steps, statuses, strict=True):
        rule = step.rule
        if rule is not None and rule.limit is None:
            continue
        if quota_mode or (rule is not None and rule.quota_mode):
            quotas += 1
            quotas_over += status.is_over
        elif status.is_over:
            return True
    return 0 < quotas == quotas_over


def tightest(statuses: Iterable[Status]) -> Status | None:
    """Return what limit headers speak of: the last that is over, or the first with the least left."""
    chosen: Status | None = None
    for status in statuses:
        if status.limit is None:
            continue
        if chosen is None or status.is_over or (not chosen.is_over and status.remaining < chosen.remaining):
            chosen = status
    return chosen


def metadata(plan: Plan, statuses: Sequence[Status]) -> dict[str, JsonValue]:
    """Return the request, and the metadata of its rules that passed, as dynamic metadata."""
    answer = request_metadata(plan.request)
    merged: dict[str, JsonValue] = {}
    for step, status in zip(plan.steps, statuses, strict=True):
        if step.rule is not None and step.rule.limit is not None and not status.is_over:
            merged = merge(merged, step.rule.metadata)
    if merged:
        answer["metadata"] = merged
    return answer


def request_metadata(request: Asked) -> dict[str, JsonValue]:
    """Return what was asked, in the reference's words."""
    answer: dict[str, JsonValue] = {
        "domain": request.domain,
        "descriptors": [descriptor_metadata(descriptor) for descriptor in request.descriptors],
    }
    if request.hits is not None:
        answer["hitsAddend"] = request.hits
    return answer


def descriptor_metadata(descriptor: Descriptor) -> dict[str, JsonValue]:
    """Return one descriptor, with the limit and the hits that it carried."""
    answer: dict[str, JsonValue] = {"entries": [f"{key}={value}" for key, value in descriptor.entries]}
    if descriptor.override is not None:
        limit = descriptor.override
        answer["limit"] = (
            f"requests_per_unit:{limit.amount} unit:{limit.span.upper()}"
            if limit.amount
            else f"unit:{limit.span.upper()}"
        )
    if descriptor.hits is not None:
        answer["hitsAddend"] = descriptor.hits
    return answer


def merge(first: Mapping[str, JsonValue], second: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return both; where they meet the first wins, and maps are merged. Neither is changed: rules are shared."""
    merged = dict(first)
    for key, value in second.items():
        mine = merged.get(key)
        if key not in merged:
            merged[key] = value
        elif isinstance(mine, Mapping) and isinstance(value, Mapping):
            merged[key] = merge(mine, value)
    return merged
