from __future__ import annotations

import pytest

from ratelimit.errors import ConfigError
from ratelimit.specs import DescriptorSpec, DomainSpec, LimitSpec, Own, Where
from ratelimit.tree import build, problems
from tests.fakes.rules import limit, node, unlimited

HERE = Where("rules.yaml", 7)


def domain(name: str, *nodes: DescriptorSpec, file: str = "rules.yaml") -> DomainSpec:
    return DomainSpec(Where(file, 1), name, nodes)


def messages(*specs: DomainSpec, merge: bool = False) -> list[str]:
    return [problem.message for problem in problems(specs, merge=merge)]


BAD = {
    "no domain": (domain("", limit("a")), "config file cannot have empty domain"),
    "no key": (domain("d", node("", "v")), "descriptor has empty key"),
    "no key below": (domain("d", node("a", "", node(""))), "descriptor has empty key"),
    "a key twice": (domain("d", limit("a"), node("a")), "duplicate descriptor composite key 'd.a'"),
    "joined keys": (domain("d", limit("a_b"), limit("a", value="b")), "duplicate descriptor composite key 'd.a_b'"),
    "twice below": (
        domain("d", node("a", "b", node("c"), node("c"))),
        "duplicate descriptor composite key 'd.a_b.c'",
    ),
    "unknown unit": (domain("d", limit("a", unit="fortnight")), "invalid rate limit unit 'fortnight'"),
    "no unit": (domain("d", limit("a", unit="")), "invalid rate limit unit ''"),
    "unlimited with a unit": (
        domain("d", DescriptorSpec(HERE, "a", rate_limit=LimitSpec(HERE, "hour", unlimited=True))),
        "should not specify rate limit unit when unlimited",
    ),
    "unlimited with a key of ours": (
        domain(
            "d", DescriptorSpec(HERE, "a", rate_limit=LimitSpec(HERE, unlimited=True, own={"amount": Own(HERE, 1)}))
        ),
        "amount: an unlimited rule has none",
    ),
    "replaces nothing": (domain("d", limit("a", replaces=("",))), "should not have an empty replaces entry"),
    "replaces itself": (
        domain("d", limit("a", name="me", replaces=("me",))),
        "replaces should not contain name of same descriptor",
    ),
    "shares without a star": (
        domain("d", limit("a", value="b", share_threshold=True)),
        "share_threshold can only be used with wildcard values (containing '*'), but found key 'a_b'",
    ),
}


@pytest.mark.parametrize(("spec", "message"), BAD.values(), ids=BAD.keys())
def test_each_mistake_is_named(spec: DomainSpec, message: str) -> None:
    assert messages(spec) == [message]


def test_every_mistake_is_named_at_once() -> None:
    specs = [domain("d", node("", "", limit("b", unit="x")), limit("a", unit="y")), domain("")]

    assert messages(*specs) == [
        "descriptor has empty key",
        "invalid rate limit unit 'x'",
        "invalid rate limit unit 'y'",
        "config file cannot have empty domain",
    ]


def test_what_is_below_a_repeated_key_is_looked_through() -> None:
    spec = domain("d", node("a"), node("a", "", limit("b", unit="x")))

    assert messages(spec) == ["duplicate descriptor composite key 'd.a'", "invalid rate limit unit 'x'"]


def test_a_repeated_domain_is_one_problem() -> None:
    specs = [domain("d", limit("a")), domain("d", limit("a"), file="other.yaml")]

    assert [str(problem) for problem in problems(specs)] == ["other.yaml:1: duplicate domain 'd' in config file"]


def test_two_files_without_a_domain_do_not_collide() -> None:
    assert messages(domain("", limit("a")), domain("", limit("a"))) == ["config file cannot have empty domain"] * 2


def test_merged_files_add_to_one_domain() -> None:
    rules = build([domain("d", limit("a", 1)), domain("d", limit("b", 2))], merge=True)

    assert rules.dump() == [
        "d.a: unit=HOUR requests_per_unit=1, shadow_mode: false, quota_mode: false",
        "d.b: unit=HOUR requests_per_unit=2, shadow_mode: false, quota_mode: false",
    ]


def test_merged_files_may_not_repeat_a_key() -> None:
    specs = [domain("d", node("a", "", limit("b"))), domain("d", node("a", "", limit("c")))]

    assert messages(*specs, merge=True) == ["duplicate descriptor composite key 'd.a'"]


def test_a_bad_set_is_raised_with_every_problem() -> None:
    with pytest.raises(ConfigError) as error:
        build([domain(""), domain("")])

    assert len(error.value.problems) == 2


def test_a_unit_may_be_in_any_case_and_unlimited_has_none() -> None:
    rules = build([domain("d", limit("a", 3, unit="WeEk"), unlimited("b"))])

    assert [rule.limit and rule.limit.unit.name for rule in rules.domains["d"].rules()] == ["WEEK", None]


def test_patterns_keep_the_order_of_the_file() -> None:
    rules = build([domain("d", limit("p", value="x*"), limit("p", value="xy*"), limit("p"))])

    assert [pattern.node.composite for pattern in rules.domains["d"].root.patterns] == ["p_x*", "p_xy*"]
