from __future__ import annotations

from ratelimit.api.plans import MESSAGE_BYTES_MAX, PLAN_BYTES, Plans
from ratelimit.descriptor import Request
from ratelimit.plan import Plan


def make(message: bytes) -> Plan:
    return Plan(Request(message.decode(), ()), ())


def test_a_message_is_planned_once() -> None:
    plans = Plans(entries_max=10, bytes_max=100_000)

    assert plans.get(b"a", 1, make) is plans.get(b"a", 1, make)
    assert (plans.hits, plans.misses) == (1, 1)


def test_new_rules_forget_every_plan() -> None:
    plans = Plans(entries_max=10, bytes_max=100_000)
    first = plans.get(b"a", 1, make)

    assert plans.get(b"a", 2, make) is not first
    assert len(plans) == 1


def test_the_least_recently_used_leaves_first() -> None:
    plans = Plans(entries_max=2, bytes_max=100_000)
    first = plans.get(b"a", 1, make)
    for message in (b"b", b"a", b"c"):
        plans.get(message, 1, make)

    assert (len(plans), plans.get(b"a", 1, make) is first) == (2, True)
    assert plans.misses == 3


def test_plans_are_bounded_in_bytes() -> None:
    plans = Plans(entries_max=10, bytes_max=2 * (PLAN_BYTES + 1))
    for message in (b"a", b"b", b"c"):
        plans.get(message, 1, make)

    assert len(plans) == 2


def test_a_large_message_is_not_kept() -> None:
    plans = Plans(entries_max=10, bytes_max=100_000)
    plans.get(b"a" * (MESSAGE_BYTES_MAX + 1), 1, make)

    assert len(plans) == 0
