from __future__ import annotations

import pytest

from ratelimit.config.overlay_file import read
from ratelimit.errors import ConfigError
from ratelimit.limits import Limit, Unit
from ratelimit.overlay import Overlay
from ratelimit.rules import Rule, RuleSet
from ratelimit.specs import DomainSpec, Own
from ratelimit.tree import build
from ratelimit.windows import Every
from serving.yaml_nodes import Bounds
from tests.fakes.rules import HERE, limit, node, unlimited

BOUNDS = Bounds(1_000, 50)


def overlay(text: str) -> Overlay:
    return read("overlay.yaml", text.encode(), BOUNDS)


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        overlay(text)
    return [str(problem) for problem in caught.value.problems]


def laid(text: str, *specs: DomainSpec) -> RuleSet:
    return build(overlay(text).lay(specs))


def rule(rules: RuleSet, domain: str, position: int = 0) -> Rule:
    return rules.domains[domain].rules()[position]


def test_a_layer_without_a_path_gives_defaults_to_a_domain() -> None:
    text = "overlays: [{domain: default/*, rate_limit: {on_deny: keep}}]"

    rules = laid(text, DomainSpec(HERE, "default/eg", (limit("a"),)), DomainSpec(HERE, "other", (limit("a"),)))

    assert [rule(rules, domain).modes.is_kept for domain in ("default/eg", "other")] == [True, False]


def test_a_layer_with_a_path_is_for_the_limits_there() -> None:
    text = """
overlays:
  - domain: d
    path: [{key: "*rule/0*"}, {key: tenant, value: "a*"}]
    rate_limit: {check: exhausted}
"""
    specs = DomainSpec(
        HERE, "d", (node("x-rule/0-y", "", limit("tenant", value="acme"), limit("tenant", value="bob")),)
    )

    rules = laid(text, specs)

    assert [rule(rules, "d", position).modes.is_exhausted for position in (0, 1)] == [True, False]


def test_the_nearest_wins() -> None:
    text = """
overlays:
  - {domain: d, path: [{key: a}], rate_limit: {on_deny: burn, idempotent: 5s}}
  - {domain: d, rate_limit: {on_deny: keep, idempotent: 9s, check: exhausted}}
"""
    own = {"check": Own(HERE, "over")}
    spec = limit("a")
    assert spec.rate_limit is not None
    spec_with_own = type(spec)(HERE, "a", "", type(spec.rate_limit)(HERE, "hour", 10, own=own))

    modes = rule(laid(text, DomainSpec(HERE, "d", (spec_with_own,))), "d").modes

    assert (modes.is_kept, modes.remember_ms, modes.is_exhausted) == (False, 5_000, False)


@pytest.mark.parametrize(
    ("keys", "limits"),
    [
        ("{window: 5h}", (Limit(10, None, "", Every(18_000)),)),
        ("{amount: 7}", (Limit(7, Unit.HOUR),)),
        (
            "{limits: [{amount: 1, unit: day}, {amount: 2, window: 2m}]}",
            (Limit(1, Unit.DAY), Limit(2, None, "", Every(120))),
        ),
    ],
    ids=["window", "amount", "limits"],
)
def test_a_layer_replaces_what_it_brings(keys: str, limits: tuple[Limit, ...]) -> None:
    rules = laid(f"overlays: [{{domain: d, rate_limit: {keys}}}]", DomainSpec(HERE, "d", (limit("a"),)))

    assert rule(rules, "d").limits == limits


def test_an_unlimited_rule_is_left_alone() -> None:
    rules = laid("overlays: [{domain: d, rate_limit: {window: 5h}}]", DomainSpec(HERE, "d", (unlimited("a"),)))

    assert rule(rules, "d").limits == ()


def test_a_hash_tag_may_come_from_a_layer() -> None:
    rules = laid("overlays: [{domain: d, hash_tag: [a]}]", DomainSpec(HERE, "d", (limit("a"),)))

    assert rules.domains["d"].hash_tag == ("a",)


def test_a_layer_that_fits_nothing_is_known() -> None:
    layers = overlay(
        "overlays:\n- {domain: d, rate_limit: {}}\n- {domain: e, rate_limit: {}}\n- {domain: d, path: [{key: b}]}\n"
    )

    unused = [layer.where.line for layer in layers.unused([DomainSpec(HERE, "d", (limit("a"),))])]

    assert unused == [3, 4]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", ["overlay.yaml:1: needs a list under `overlays`, and nothing beside it"]),
        ("overlays: []\nmore: 1\n", ["overlay.yaml:1: needs a list under `overlays`, and nothing beside it"]),
        ("overlays: [\n", ["overlay.yaml:2: while parsing a flow node, did not find expected node content"]),
        (
            "overlays:\n- {domain: d, rate_limit: {unit: day}}\n",
            ["overlay.yaml:2: rate_limit: 'unit' is no key of an overlay"],
        ),
        (
            "overlays:\n- domain: d\n  pth: []\n- {path: [{kee: a}]}\n",
            [
                "overlay.yaml:3: overlays[0].pth: nobody knows this key",
                "overlay.yaml:4: overlays[1].domain: is missing",
                "overlay.yaml:4: overlays[1].path[0].key: is missing",
                "overlay.yaml:4: overlays[1].path[0].kee: nobody knows this key",
            ],
        ),
        (
            "overlays:\n- domain: d\n  rate_limit:\n    amount: !!int many\n",
            ["overlay.yaml:4: cannot decode !!str `many` as a !!int"],
        ),
    ],
    ids=["empty", "more", "broken", "key", "names", "tag"],
)
def test_every_problem_of_an_overlay_is_told_with_its_line(text: str, wrong: list[str]) -> None:
    assert problems(text) == wrong


def test_what_a_layer_says_wrong_is_told_with_the_line_of_the_overlay() -> None:
    with pytest.raises(ConfigError) as caught:
        laid("overlays:\n- domain: d\n  rate_limit:\n    on_deny: never\n", DomainSpec(HERE, "d", (limit("a"),)))

    assert [str(each) for each in caught.value.problems] == ["overlay.yaml:4: on_deny: one of burn, keep is wanted"]


def test_a_layer_may_bring_a_ceiling_to_the_limits_of_a_management_server() -> None:
    rules = laid("overlays: [{domain: d, rate_limit: {ceiling: 90}}]", DomainSpec(HERE, "d", (limit("a", 10),)))

    assert rule(rules, "d").limit == Limit(10, Unit.HOUR, ceiling=90)
    assert rules.has_ceilings


def test_a_ceiling_below_the_amount_of_a_rule_is_told_where_the_layer_is() -> None:
    with pytest.raises(ConfigError) as raised:
        laid("overlays: [{domain: d, rate_limit: {ceiling: 9}}]", DomainSpec(HERE, "d", (limit("a", 10),)))

    assert [str(each) for each in raised.value.problems] == ["overlay.yaml:1: ceiling: 9 is below the amount, 10"]
