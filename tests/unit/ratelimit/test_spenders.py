from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ratelimit.descriptor import Descriptor, Request
from ratelimit.plan import Plan, Step
from ratelimit.spenders import Spenders


def plan(name: str, domain: str = "d") -> Plan:
    return Plan(Request(domain, (Descriptor((("user", name),)),)), (Step(None),), (f"{domain}_{name}",))


def spend(spenders: Spenders, name: str, hits: int, domain: str = "d") -> None:
    spenders.add(plan(name, domain), 0, hits)


def top(spenders: Spenders, now: float = 0.0, domain: str = "") -> list[tuple[str, int]]:
    return [(each.entries[0][1], each.spent) for each in spenders.top(10, now, domain)[0]]


def test_who_spent_most_comes_first() -> None:
    spenders = Spenders(10, 60.0)
    spenders.turn(0.0)
    for name, hits in [("a", 1), ("b", 5), ("a", 3), ("c", 2)]:
        spend(spenders, name, hits)

    assert top(spenders) == [("b", 5), ("a", 4), ("c", 2)]


def test_a_domain_may_be_asked_for_alone() -> None:
    spenders = Spenders(10, 60.0)
    spenders.turn(0.0)
    spend(spenders, "a", 1)
    spend(spenders, "b", 1, "other")

    assert top(spenders, domain="other") == [("b", 1)]


def test_the_interval_before_counts_too_and_the_one_before_that_does_not() -> None:
    spenders = Spenders(10, 60.0)
    spenders.turn(0.0)
    spend(spenders, "a", 1)
    spenders.turn(60.0)
    spend(spenders, "a", 2)
    spend(spenders, "b", 1)

    assert top(spenders, 119.0) == [("a", 3), ("b", 1)]
    assert top(spenders, 120.0) == [("a", 2), ("b", 1)]


def test_after_a_long_silence_nobody_is_told() -> None:
    spenders = Spenders(10, 60.0)
    spenders.turn(0.0)
    spend(spenders, "a", 1)

    assert top(spenders, 500.0) == []


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 50)), max_size=300))
def test_nobody_is_told_to_have_spent_less_than_he_did_and_the_table_is_bounded(spends: list[tuple[int, int]]) -> None:
    spenders, sums = Spenders(4, 60.0), dict[str, int]()
    spenders.turn(0.0)
    for number, hits in spends:
        spend(spenders, str(number), hits)
        sums[str(number)] = sums.get(str(number), 0) + hits
    found, _ = spenders.top(100, 0.0)

    assert len(found) <= 8
    assert all(each.spent - each.error <= sums[each.entries[0][1]] <= each.spent for each in found)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 50)), max_size=300))
def test_who_spent_more_than_a_share_is_always_told(spends: list[tuple[int, int]]) -> None:
    spenders, sums = Spenders(4, 60.0), dict[str, int]()
    spenders.turn(0.0)
    for number, hits in spends:
        spend(spenders, str(number), hits)
        sums[str(number)] = sums.get(str(number), 0) + hits
    told = {each.entries[0][1] for each in spenders.top(100, 0.0)[0]}

    assert {name for name, spent in sums.items() if spent > sum(sums.values()) / 4} <= told
