from __future__ import annotations

from ratelimit.descriptor import Descriptor, Request
from ratelimit.limits import Limit, Unit
from ratelimit.plan import NO_RULE, Plan, Planner
from ratelimit.rules import RuleSet
from ratelimit.store import COUNT_MAX
from tests.fakes.rules import limit, read_rules, rule_set, unlimited


def plan(rules: RuleSet, *descriptors: Descriptor, domain: str = "d", **planner: object) -> Plan:
    return Planner(**planner).plan(Request(domain, descriptors), rules)  # type: ignore[arg-type]


def names(plan: Plan) -> list[str]:
    return [step.rule.path if step.rule else "-" for step in plan.steps]


def test_a_counter_is_named_by_prefix_domain_and_every_key_and_value() -> None:
    planned = plan(rule_set("d", limit("a")), Descriptor((("a", "1"),)), key_prefix="edge:")

    assert planned.stems[0] == "edge:d_a_1_"


def test_nothing_is_known_of_a_domain_without_rules() -> None:
    planned = plan(rule_set("d", limit("a")), Descriptor((("a", "1"),)), domain="other")

    assert (planned.is_known_domain, planned.steps) == (False, (NO_RULE,))


def test_an_override_needs_no_rule_and_is_reported_under_the_values_of_the_request() -> None:
    override = Limit(7, Unit.DAY)
    planned = plan(rule_set("d", limit("a", shadow_mode=True)), Descriptor((("a", "1"), ("x", "")), override=override))

    step = planned.steps[0]
    assert step.rule is not None
    assert (step.rule.limit, step.rule.shadow_mode, step.stats_key, planned.stems[0]) == (
        override,
        False,
        "d.a_1.x",
        "d_a_1_x__",
    )


def test_a_rule_that_another_replaces_is_dropped_wherever_it_stands() -> None:
    rules = rule_set("d", limit("a", name="n"), limit("b", name="n"), limit("c", replaces=("n",)), unlimited("u"))
    descriptors = [Descriptor(((key, "1"),)) for key in "acbu"]

    assert names(plan(rules, *descriptors)) == ["-", "d.c", "-", "d.u"]


def test_rules_that_replace_each_other_are_both_dropped() -> None:
    rules = rule_set("d", limit("a", name="na", replaces=("nb",)), limit("b", name="nb", replaces=("na",)))

    assert names(plan(rules, Descriptor((("a", "1"),)), Descriptor((("b", "1"),)))) == ["-", "-"]


def test_hits_that_no_counter_can_hold_are_cut() -> None:
    planned = plan(rule_set("d", limit("a")), Descriptor((("a", "1"),), hits=2**64 - 1))

    assert planned.steps[0].hits == COUNT_MAX


def test_a_plan_serves_requests_that_differ_in_their_hits() -> None:
    rules = rule_set("d", limit("a"), limit("b"))
    known = plan(rules, Descriptor((("a", ""),), 5), Descriptor((("b", ""),)), Descriptor((("c", ""),), 5))

    served = known.with_hits([COUNT_MAX + 1, None, 7])

    assert [step.hits for step in served.steps] == [COUNT_MAX, None, None]
    assert [step.hits for step in known.steps] == [5, None, None]


def test_several_limits_are_counted_each_on_a_counter_of_its_own_whatever_their_windows() -> None:
    rules = read_rules(
        "domain: d\ndescriptors:\n  - key: a\n    rate_limit:\n"
        "      limits: [{unit: minute, amount: 1}, {window: 1h, amount: 2}, {window: 5h, amount: 3}]\n"
    )
    planned = plan(rules, Descriptor((("a", "1"),)))

    assert [(each.limit.amount, each.stem) for each in planned.steps[0].countings] == [
        (1, "w1:{d|a=1}#fminute"),
        (2, "w1:{d|a=1}#fhour"),
        (3, "w1:{d|a=1}#f18000s"),
    ]
