from __future__ import annotations

import pytest

from ratelimit import folding
from ratelimit.descriptor import Descriptor, Request
from ratelimit.limits import Limit, Unit
from ratelimit.plan import NO_RULE, Plan, Step
from ratelimit.rules import Rule
from ratelimit.specs import Where
from ratelimit.verdict import NO_LIMIT, UNLIMITED, Status

TEN = Limit(10, Unit.HOUR)


def step(*, quota: bool = False, **fields: object) -> Step:
    return Step(Rule(TEN, "d.k", Where("f"), quota_mode=quota, **fields))  # type: ignore[arg-type]


def status(*, over: bool = False, remaining: int = 0) -> Status:
    return Status(over, TEN, remaining)


FREE = Step(Rule(None, "d.free", Where("f")))
PLAIN, QUOTA = step(), step(quota=True)
OVER, ROOM = status(over=True), status(remaining=5)


@pytest.mark.parametrize(
    ("steps", "statuses", "quota_mode", "is_over"),
    [
        ([PLAIN], [ROOM], False, False),
        ([PLAIN, PLAIN], [ROOM, OVER], False, True),
        ([QUOTA], [OVER], False, True),
        ([QUOTA, QUOTA], [OVER, ROOM], False, False),
        ([QUOTA, QUOTA], [OVER, OVER], False, True),
        ([QUOTA, PLAIN], [OVER, ROOM], False, True),
        ([QUOTA, PLAIN], [ROOM, OVER], False, True),
        ([NO_RULE], [NO_LIMIT], False, False),
        ([PLAIN, PLAIN], [OVER, ROOM], True, False),
        ([PLAIN, NO_RULE], [OVER, NO_LIMIT], True, False),
        ([PLAIN, FREE], [OVER, UNLIMITED], True, True),
        ([FREE], [UNLIMITED], True, False),
    ],
    ids=[
        "room", "one-plain-over", "lone-quota-over", "one-quota-has-room", "all-quota-over", "quota-over-plain-room",
        "quota-room-plain-over", "no-rule", "global-quota-one-room", "global-quota-unmatched-has-room",
        "global-quota-unlimited-is-none", "only-unlimited",
    ],
)  # fmt: skip
def test_a_plain_rule_denies_alone_and_quota_rules_only_together(
    steps: list[Step],
    statuses: list[Status],
    quota_mode: bool,  # noqa: FBT001
    is_over: bool,  # noqa: FBT001
) -> None:
    assert folding.is_over(steps, statuses, quota_mode=quota_mode) is is_over


def test_headers_speak_of_the_first_with_the_least_left() -> None:
    least = status(remaining=2)

    assert folding.tightest([NO_LIMIT, status(remaining=3), least, status(remaining=2)]) is least


def test_headers_speak_of_the_last_that_is_over() -> None:
    last = status(over=True)

    assert folding.tightest([status(over=True), ROOM, last, status(remaining=0)]) is last


def test_headers_are_silent_where_nothing_has_a_limit() -> None:
    assert folding.tightest([NO_LIMIT, UNLIMITED]) is None


def test_metadata_tells_what_was_asked() -> None:
    override = Limit(7, Unit.DAY)
    request = Request("d", (Descriptor((("k", "v"),), hits=0), Descriptor((("x", ""),), override=override)), hits=2)

    assert folding.metadata(Plan(request, (NO_RULE, NO_RULE), ("", "")), [NO_LIMIT, NO_LIMIT]) == {
        "domain": "d",
        "hitsAddend": 2,
        "descriptors": [
            {"entries": ["k=v"], "hitsAddend": 0},
            {"entries": ["x="], "limit": "requests_per_unit:7 unit:DAY"},
        ],
    }


def test_an_override_of_zero_is_told_as_text_formats_leave_out_zero() -> None:
    request = Request("d", (Descriptor((), override=Limit(0, Unit.DAY)),))

    assert folding.request_metadata(request)["descriptors"] == [{"entries": [], "limit": "unit:DAY"}]


def test_metadata_of_rules_that_passed_is_merged_and_the_first_wins() -> None:
    first, second = step(metadata={"a": 1, "m": {"x": 1}}), step(metadata={"a": 2, "b": 2, "m": {"x": 2, "z": 3}})
    plan = Plan(Request("d", ()), (first, second, step(metadata={"c": 3}), FREE), ("",) * 4)

    merged = folding.metadata(plan, [ROOM, ROOM, OVER, UNLIMITED])["metadata"]

    assert merged == {"a": 1, "b": 2, "m": {"x": 1, "z": 3}}


def test_merging_changes_no_rule() -> None:
    nested = {"x": 1}
    folding.merge({"m": nested}, {"m": {"z": 2}})

    assert nested == {"x": 1}
