from __future__ import annotations

import pytest

from ratelimit.descriptor import Descriptor, Request
from ratelimit.errors import ConfigError
from ratelimit.limits import Limit, Unit
from ratelimit.plan import Planner
from ratelimit.specs import DescriptorSpec, DomainSpec
from ratelimit.tree import build
from tests.fakes.rules import HERE, limit, node

SECRET = "sk-123"


def show(value: str) -> str:
    return f"<{len(value)}>"


def stats_key(rule: DescriptorSpec, *, override: Limit | None = None) -> str:
    rules = build([DomainSpec(HERE, "d", (rule,))], show=show)
    descriptor = Descriptor((("key", SECRET),), override=override)
    return Planner().plan(Request("d", (descriptor,)), rules).steps[0].stats_key


@pytest.mark.parametrize(
    ("rule", "override"),
    [
        (limit("key", value=SECRET), None),
        (limit("key", value_to_metric=True), None),
        (limit("key", detailed_metric=True), None),
        (limit("key"), Limit(1, Unit.HOUR)),
    ],
    ids=["configured", "value_to_metric", "detailed_metric", "override"],
)
def test_a_metric_shows_what_stands_for_the_value(rule: DescriptorSpec, override: Limit | None) -> None:
    assert stats_key(rule, override=override) == "d.key_<6>"


def test_a_counter_is_named_by_the_value_itself() -> None:
    rules = build([DomainSpec(HERE, "d", (limit("key", value=SECRET),))], show=show)

    plan = Planner().plan(Request("d", (Descriptor((("key", SECRET),)),)), rules)

    assert plan.stems[0] == f"d_key_{SECRET}_"


def test_the_page_of_rules_shows_what_stands_for_the_value() -> None:
    rules = build([DomainSpec(HERE, "d", (node("key", SECRET, limit("model", 3)),))], show=show)

    assert rules.dump() == ["d.key_<6>.model: unit=HOUR requests_per_unit=3, shadow_mode: false, quota_mode: false"]


def test_a_problem_shows_what_stands_for_the_value() -> None:
    with pytest.raises(ConfigError) as raised:
        build([DomainSpec(HERE, "d", (limit("key", value=SECRET), limit("key", value=SECRET)))], show=show)

    assert raised.value.problems[0].message == "duplicate descriptor composite key 'd.key_<6>'"
