from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit.descriptor import Descriptor, Request
from ratelimit.moulds import Moulds
from ratelimit.plan import Plan, Planner
from tests.fakes.rules import limit, read_rules, rule_set

RULES = read_rules("""\
domain: d
descriptors:
  - {key: a, rate_limit: {unit: hour, requests_per_unit: 1, name: one}}
  - {key: a, value: x, rate_limit: {unit: hour, requests_per_unit: 2, replaces: [{name: one}]}}
  - {key: a, value: y*, rate_limit: {unit: hour, requests_per_unit: 3}, shadow_mode: true}
  - {key: b_x, rate_limit: {unlimited: true}}
  - key: b
    rate_limit: {unit: day, requests_per_unit: 4}
    descriptors:
      - {key: a, rate_limit: {unit: minute, requests_per_unit: 5, on_store_error: open}}
      - {key: a, value: x}
      - {key: detailed, detailed_metric: true, rate_limit: {unit: hour, requests_per_unit: 6}}
  - {key: named, value_to_metric: true, rate_limit: {unit: hour, requests_per_unit: 7}}
  - {key: shared, value: x*, share_threshold: true, rate_limit: {unit: hour, requests_per_unit: 8}}
  - {key: own, rate_limit: {unit: hour, requests_per_unit: 9, algorithm: sliding_window}}
""")
PLANNER = Planner(key_prefix="edge:")
DOMAIN = RULES.domains["d"]
KEYS = st.sampled_from(["a", "b", "b_x", "named", "detailed", "shared", "own", "unknown", ""])
VALUES = st.sampled_from(["x", "y", "x1", "y2", "x_x", "", "é%s"])
DESCRIPTORS = st.lists(st.tuples(KEYS, VALUES), max_size=3).map(lambda entries: Descriptor(tuple(entries)))
REQUESTS = st.lists(DESCRIPTORS, min_size=1, max_size=3).map(lambda descriptors: Request("d", tuple(descriptors)))


def moulds() -> Moulds:
    return Moulds(Planner(key_prefix="edge:"), RULES)


def planned(request: Request) -> Plan:
    return Planner(key_prefix="edge:").plan(request, RULES)


def moulded(request: Request, known: Moulds) -> Plan | None:
    mould = known.make(request.domain, [[key for key, _ in each.entries] for each in request.descriptors])
    return mould and mould.plan([value for each in request.descriptors for _, value in each.entries], request)


def asked(*entries: tuple[str, str]) -> Request:
    return Request("d", tuple(Descriptor((entry,)) for entry in entries))


def told(plan: Plan | None) -> object:
    if plan is None:
        return None
    steps = [(step.rule, step.stats_key, step.near_mark, step.hits, step.is_refund, step.phase) for step in plan.steps]
    flags = plan.is_known_domain, plan.is_plain, plan.is_kept, plan.survives_outage, plan.has_extras, plan.adds_up
    return plan.request, steps, plan.stems, flags


@given(st.lists(REQUESTS, min_size=1, max_size=8))
def test_a_plan_by_a_mould_is_the_planners(requests: list[Request]) -> None:
    known = moulds()

    for request in requests:
        assert told(moulded(request, known)) in (told(planned(request)), None)


@given(REQUESTS)
def test_only_what_shows_values_or_is_counted_in_our_own_way_has_no_mould(request: Request) -> None:
    matches = [DOMAIN.match(each.entries) for each in request.descriptors]
    shows = any(match is not None and match.shows_values for match in matches)

    assert (moulded(request, moulds()) is None) == (shows or not planned(request).is_plain)


@pytest.mark.parametrize("key", ["named", "detailed", "shared"])
def test_a_rule_whose_names_have_values_in_them_has_none(key: str) -> None:
    entries = (("b", "1"), (key, "x1")) if key == "detailed" else ((key, "x1"),)
    match = DOMAIN.match(entries)

    assert match is not None
    assert match.shows_values


def test_requests_that_find_the_same_nodes_share_their_steps() -> None:
    known = moulds()
    one, other = (moulded(asked(("a", value), ("b", value)), known) for value in ("1", "2"))

    assert one is not None
    assert other is not None
    assert one.steps is other.steps
    assert (one.stems, other.stems) == (("edge:d_a_1_", "edge:d_b_1_"), ("edge:d_a_2_", "edge:d_b_2_"))


def test_a_value_that_has_a_rule_of_its_own_finds_it_among_others() -> None:
    known = moulds()
    paths = [
        [step.rule.path for step in plan.steps if step.rule]
        for value in ("1", "x", "y2", "1")
        if (plan := moulded(asked(("a", value)), known))
    ]

    assert paths == [["d.a"], ["d.a_x"], ["d.a_y*"], ["d.a"]]


def test_what_no_rule_counts_has_no_counter_to_name() -> None:
    plan = moulded(asked(("unknown", "1"), ("a", "x"), ("a", "2")), moulds())

    assert plan is not None
    assert plan.stems == ("", "edge:d_a_x_", "")


def test_a_domain_without_rules_has_no_mould() -> None:
    assert moulds().make("other", [["a"]]) is None


def test_combinations_of_nodes_are_bounded() -> None:
    nodes = [limit(f"key{number}") for number in range(70)]
    known = Moulds(Planner(), rule_set("d", *nodes))
    for number in range(70 * 70):
        moulded(asked((f"key{number % 70}", "1"), (f"key{number // 70}", "1")), known)

    assert 0 < len(known.castings) <= 4_096


def test_what_finds_the_same_nodes_by_other_keys_is_the_same_combination() -> None:
    known = moulds()
    requests = [asked(("b", "x")), asked(("b_x", ""))]

    assert [told(moulded(each, known)) for each in requests] == [told(planned(each)) for each in requests]
    assert len(known.castings) == 1


def test_what_is_planned_for_itself_is_so_each_time() -> None:
    known = moulds()

    assert [moulded(asked(("named", value)), known) for value in ("1", "2")] == [None, None]
    assert list(known.castings.values()) == [None]
