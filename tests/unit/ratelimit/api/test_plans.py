from __future__ import annotations

from ratelimit.api.plans import PLAN_BYTES, Plans
from ratelimit.descriptor import Request
from ratelimit.plan import Plan
from serving.metrics import Registry

PLAN = Plan(Request("d", ()), (), ())


def plans(entries_max: int = 10, bytes_max: int = 100_000, registry: Registry | None = None) -> Plans:
    made = Plans(registry or Registry(), entries_max=entries_max, bytes_max=bytes_max)
    made.renew(1)
    return made


def test_a_plan_is_remembered() -> None:
    known = plans()
    known.keep(b"a", PLAN)

    assert known.get(b"a") is PLAN
    assert known.get(b"b") is None


def test_the_hit_rate_is_a_metric() -> None:
    registry = Registry()
    known = plans(registry=registry)
    for key in (b"a", None):
        known.keep(key, PLAN)
    known.get(b"a")

    figures = {sample.name: sample.value for sample in registry.samples()}
    assert figures == {
        "weir.plans.hits": 1,
        "weir.plans.misses": 2,
        "weir.plans.entries": 1,
        "weir.plans.bytes": PLAN_BYTES + 1,
    }


def test_new_rules_forget_every_plan() -> None:
    known = plans()
    known.keep(b"a", PLAN)
    known.renew(2)

    assert known.get(b"a") is None
    assert len(known) == 0


def test_the_same_rules_forget_nothing() -> None:
    known = plans()
    known.keep(b"a", PLAN)
    known.renew(1)

    assert known.get(b"a") is PLAN


def test_the_least_recently_used_leaves_first() -> None:
    known = plans(entries_max=2)
    known.keep(b"a", PLAN)
    known.keep(b"b", PLAN)
    known.get(b"a")
    known.keep(b"c", PLAN)

    assert [key for key in (b"a", b"b", b"c") if known.get(key)] == [b"a", b"c"]


def test_plans_are_bounded_in_bytes() -> None:
    known = plans(bytes_max=2 * (PLAN_BYTES + 1))
    for key in (b"a", b"b", b"c"):
        known.keep(key, PLAN)

    assert len(known) == 2


def test_what_has_no_key_is_not_kept() -> None:
    known = plans()
    known.keep(None, PLAN)

    assert len(known) == 0
