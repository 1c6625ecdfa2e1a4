from __future__ import annotations

import pytest

from ratelimit.rules import Match
from ratelimit.specs import DescriptorSpec
from tests.fakes.rules import limit, node, rule_set, unlimited


def find(nodes: list[DescriptorSpec], *entries: tuple[str, str]) -> Match | None:
    return rule_set("d", *nodes).domains["d"].match(entries)


def amount(nodes: list[DescriptorSpec], *entries: tuple[str, str]) -> int | None:
    match = find(nodes, *entries)
    return match.rule.limit.amount if match and match.rule.limit else None


def test_an_exact_value_beats_a_pattern_and_a_pattern_the_bare_key() -> None:
    nodes = [limit("k", 1), limit("k", 2, "a*"), limit("k", 3, "ab")]

    assert [amount(nodes, ("k", value)) for value in ("ab", "ac", "x")] == [3, 2, 1]


def test_of_two_patterns_the_first_in_the_file_is_used() -> None:
    nodes = [limit("k", 1, "a*"), limit("k", 2, "ab*")]

    assert amount(nodes, ("k", "abc")) == 1


def test_there_is_no_way_back_from_an_exact_node_whose_children_do_not_fit() -> None:
    nodes = [node("a", "x", limit("b", 1, "y")), node("a", "", limit("b", 2))]

    assert amount(nodes, ("a", "x"), ("b", "z")) is None


def test_a_limit_above_the_last_entry_is_not_used() -> None:
    nodes = [limit("a", 5, descriptors=(limit("b", 7),))]

    assert (amount(nodes, ("a", "1")), amount(nodes, ("a", "1"), ("b", "2"))) == (5, 7)
    assert amount(nodes, ("a", "1"), ("c", "2")) is None
    assert amount(nodes, ("a", "1"), ("b", "2"), ("c", "3")) is None


def test_a_node_without_limit_allows_what_the_bare_key_would_limit() -> None:
    nodes = [limit("k", 5), node("k", "free")]

    assert find(nodes, ("k", "free")) is None


def test_a_descriptor_without_entries_matches_nothing() -> None:
    assert find([limit("k")]) is None


@pytest.mark.parametrize(
    ("value", "text", "fits"),
    [
        ("bar*b", "barb", True),
        ("bar*b", "barab", True),
        ("bar*b", "bara", False),
        ("bar*b", "xbarb", False),
        ("ba*ar", "bar", False),
        ("foo*bar*baz", "foo1bar2baz", True),
        ("foo*bar*baz", "foobarbaz", True),
        ("foo*bar*baz", "foo1baz", False),
        ("a*b*b", "ab", False),
        ("*", "", True),
        ("**x", "abx", True),
        ("*end", "the end", True),
    ],
)
def test_each_star_stands_for_any_run_of_characters(value: str, text: str, fits: bool) -> None:  # noqa: FBT001
    assert (find([limit("k", value=value)], ("k", text)) is not None) is fits


def test_a_shared_pattern_names_the_counter_in_place_of_the_value() -> None:
    match = find([limit("k", value="a*", share_threshold=True)], ("k", "abc"))

    assert match is not None
    assert match.counted == (("k", "a*"),)


@pytest.mark.parametrize(
    ("spec", "entries", "stats_key"),
    [
        (limit("k"), [("k", "v")], "d.k"),
        (limit("k", value="v"), [("k", "v")], "d.k_v"),
        (limit("k", value="v*"), [("k", "vw")], "d.k_v*"),
        (limit("k", value_to_metric=True), [("k", "v")], "d.k_v"),
        (limit("k", value_to_metric=True), [("k", "")], "d.k"),
        (limit("k", value="v*", value_to_metric=True), [("k", "vw")], "d.k_vw"),
        (limit("k", value="v*", value_to_metric=True, share_threshold=True), [("k", "vw")], "d.k_v*"),
        (limit("k", detailed_metric=True), [("k", "v")], "d.k_v"),
        (limit("k", detailed_metric=True), [("k", "")], "d.k_"),
        (node("a", "", limit("b", detailed_metric=True)), [("a", "1"), ("b", "2")], "d.a_1.b_2"),
        (node("a", "", limit("b"), value_to_metric=True), [("a", "1"), ("b", "2")], "d.a_1.b"),
        (node("a", "", limit("b")), [("a", "1"), ("b", "2")], "d.a.b"),
    ],
)
def test_metrics_are_named_by_the_way_to_the_rule(
    spec: DescriptorSpec, entries: list[tuple[str, str]], stats_key: str
) -> None:
    match = find([spec], *entries)

    assert match is not None
    assert match.stats_key == stats_key


def test_a_dump_lists_every_limit_in_the_order_of_the_files() -> None:
    rules = rule_set(
        "d",
        node("a", "b", limit("c", 3, unit="minute")),
        limit("s", 4, unit="day", shadow_mode=True),
        unlimited("u"),
        limit("q", quota_mode=True),
    )

    assert rules.dump() == [
        "d.a_b.c: unit=MINUTE requests_per_unit=3, shadow_mode: false, quota_mode: false",
        "d.s: unit=DAY requests_per_unit=4, shadow_mode: true, quota_mode: false",
        "d.u: unit=UNKNOWN requests_per_unit=0, shadow_mode: false, quota_mode: false",
        "d.q: unit=HOUR requests_per_unit=10, shadow_mode: false, quota_mode: true",
    ]
