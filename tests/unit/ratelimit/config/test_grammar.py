from __future__ import annotations

from textwrap import dedent

import pytest

from ratelimit.config.grammar import read
from ratelimit.specs import DescriptorSpec, DomainSpec, JsonValue, LimitSpec, Where
from serving.yaml_nodes import Bounds

BOUNDS = Bounds(nodes_max=10_000, depth_max=50)


def parsed(text: str) -> tuple[DomainSpec | None, list[str]]:
    spec, problems = read("f", dedent(text).encode(), BOUNDS)
    return spec, [f"{problem.line}: {problem.message}" for problem in problems]


def good(text: str) -> DomainSpec:
    spec, problems = parsed(text)
    assert problems == []
    assert spec is not None
    return spec


def bad(text: str) -> list[str]:
    return parsed(text)[1]


def at(line: int) -> Where:
    return Where("f", line)


def test_every_field_is_read_with_its_line() -> None:
    spec = good(
        """\
        # rules
        domain: d
        descriptors:
          - key: a
            value: b
            shadow_mode: true
            quota_mode: yes
            detailed_metric: on
            value_to_metric: y
            share_threshold: True
            metadata: {x: 1}
            rate_limit: {unit: hour, requests_per_unit: 5, name: n, replaces: [{name: m}]}
            descriptors:
              - key: c
                rate_limit:
                  unlimited: true
        """
    )

    below = DescriptorSpec(at(14), "c", rate_limit=LimitSpec(at(16), unlimited=True))
    limit = LimitSpec(at(12), "hour", 5, name="n", replaces=("m",))
    flags = dict.fromkeys(["shadow_mode", "quota_mode", "detailed_metric", "value_to_metric", "share_threshold"], True)
    top = DescriptorSpec(at(4), "a", "b", limit, (below,), metadata={"x": 1}, **flags)  # type: ignore[arg-type]
    assert spec == DomainSpec(at(2), "d", (top,))


@pytest.mark.parametrize("text", ["", "# words\n", "~", "{}", "descriptors: []", "domain: ~", "domain: ''"])
def test_what_names_no_domain_has_an_empty_one(text: str) -> None:
    assert good(text).domain == ""


@pytest.mark.parametrize(
    ("written", "text"),
    [("007", "007"), ("0x1F", "0x1F"), ("yes", "yes"), ("'a'", "a"), ("~", ""), ("!!binary aGk=", "hi"), ("! 5", "5")],
)
def test_where_text_is_due_a_scalar_is_what_is_written(written: str, text: str) -> None:
    assert good(f"domain: {written}").domain == text


@pytest.mark.parametrize(("written", "number"), [("0x10", 16), ("010", 8), ("1_000", 1_000), ("+5", 5), ("~", 0)])
def test_numbers_may_be_written_in_many_ways(written: str, number: int) -> None:
    spec = good(f"descriptors: [{{key: a, rate_limit: {{requests_per_unit: {written}}}}}]")

    assert spec.descriptors[0].rate_limit == LimitSpec(at(1), requests_per_unit=number)


def test_of_two_equal_names_the_last_is_read() -> None:
    spec = good("{domain: a, domain: b, descriptors: [{key: x}], descriptors: ~}")

    assert (spec.domain, spec.descriptors) == ("b", ())


def test_a_merge_inserts_pairs_where_it_stands() -> None:
    spec = good(
        """\
        domain: d
        descriptors:
          - &base
            key: a
            rate_limit: &limit {unit: hour, requests_per_unit: 1}
          - <<: *base
            key: b
            rate_limit: {requests_per_unit: 2}
          - key: c
            <<: [{key: first}, {key: second, value: v}]
        """
    )

    told = [(found.key, found.value, found.rate_limit) for found in spec.descriptors]
    assert told == [
        ("a", "", LimitSpec(at(5), "hour", 1)),
        ("b", "", LimitSpec(at(8), "hour", 2)),
        ("first", "v", None),
    ]


def test_a_limit_can_be_taken_back() -> None:
    spec = good("descriptors: [{<<: {key: a, rate_limit: {unit: hour}}, rate_limit: ~}]")

    assert spec.descriptors[0].rate_limit is None


def test_known_names_in_a_strange_place_mean_nothing() -> None:
    spec = good("{domain: d, unit: hour, descriptors: [{key: a, domain: x, requests_per_unit: 1}]}")

    assert spec.descriptors == (DescriptorSpec(at(1), "a"),)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("{y: 1}", {"y": 1}),
        ("{a: {y: 1, 2: two, ~: 3, 0.5: 4}}", {"a": {"true": 1, "2": "two", "<nil>": 3, "0.5": 4}}),
        ("{a: [1, [x], {b: ~}], c: 1.5, d: 2020-01-01}", {"a": [1, ["x"], {"b": None}], "c": 1.5, "d": "2020-01-01"}),
        ("{a: !!binary aGk=}", {"a": "hi"}),
        ("{a: {<<: {b: 1}, c: 2}}", {"a": {"b": 1, "c": 2}}),
        ("~", {}),
    ],
)
def test_metadata_is_free(written: str, value: JsonValue) -> None:
    spec = good(f"descriptors: [{{key: a, metadata: {written}}}]")

    assert spec.descriptors[0].metadata == value


BAD = {
    "a list": ("[a]", ["1: error loading config file: cannot use a list as a map"]),
    "a text": ("a", ["1: error loading config file: cannot use !!str `a` as a map"]),
    "not YAML": (
        "a: [",
        ["2: error loading config file: while parsing a flow node, did not find expected node content"],
    ),
    "an unknown name": ("domain: d\nversion: 2", ["2: config error, unknown key 'version'"]),
    "a number as a name": ("{5: x}", ["1: config error, key is not of type string: 5"]),
    "nothing as a name": ("{~: x}", ["1: config error, key is not of type string: <nil>"]),
    "a list as a name": ("{[a]: x}", ["1: error loading config file: a list or a map cannot be a key"]),
    "a name that lies": (
        "{!!int a: x}",
        ["1: error loading config file: cannot decode !!str `a` as a !!int"],
    ),
    "texts in a list": (
        "descriptors: [a, [b, c], ~]",
        [
            "1: config error, yaml file contains list of type other than map: a",
            "1: config error, yaml file contains list of type other than map: [2 items]",
            "1: config error, yaml file contains list of type other than map: <nil>",
        ],
    ),
    "names of rules to replace, which are in maps": (
        "descriptors: [{key: a, rate_limit: {replaces: [other]}}]",
        ["1: config error, yaml file contains list of type other than map: other"],
    ),
    "a float": (
        "domain: 1.5",
        ["1: error checking config: `1.5` is neither text, nor an integer, nor a boolean"],
    ),
    "a long integer": (
        "descriptors: [{key: a, rate_limit: {requests_per_unit: 9223372036854775808}}]",
        ["1: error checking config: `9223372036854775808` is neither text, nor an integer, nor a boolean"],
    ),
    "a list as text": ("domain: []", ["1: error loading config file: cannot use a list as text"]),
    "a map as a list": ("descriptors: {}", ["1: error loading config file: cannot use a map as a list"]),
    "a text as a list": (
        "descriptors: [{key: a, rate_limit: {replaces: x}}]",
        ["1: error loading config file: cannot use !!str `x` as a list"],
    ),
    "a list as a map": (
        "descriptors: [{key: a, metadata: []}]",
        ["1: error loading config file: cannot use a list as a map"],
    ),
    "a text as a flag": (
        "descriptors: [{key: a, shadow_mode: maybe}]",
        ["1: error loading config file: cannot use !!str `maybe` as a boolean"],
    ),
    "a map as a flag": (
        "descriptors: [{key: a, shadow_mode: {}}]",
        ["1: error loading config file: cannot use a map as a boolean"],
    ),
    "a flag as a number": (
        "descriptors: [{key: a, rate_limit: {requests_per_unit: true}}]",
        ["1: error loading config file: cannot use !!bool `true` as an integer from 0 to 4294967295"],
    ),
    "a merge of no map": (
        "{<<: [a]}",
        ["1: error loading config file: map merge requires map or sequence of maps as the value"],
    ),
    "a key of ours at the top": (
        "domain: d\namount: 1",
        ["2: config error, amount: it belongs into a rate_limit"],
    ),
    "a key of ours beside a rate_limit": (
        "domain: d\ndescriptors: [{key: a, amount: 1}]",
        ["2: config error, amount: it belongs into the rate_limit of this descriptor"],
    ),
    "a hash tag below": (
        "domain: d\ndescriptors: [{key: a, hash_tag: [a]}]",
        ["2: config error, hash_tag: it belongs beside the domain"],
    ),
    "a hash tag that is no list": (
        "domain: d\nhash_tag: tenant",
        ["2: hash_tag: a list of the keys of leading entries is wanted, such as [tenant]"],
    ),
    "no text in metadata": (
        "descriptors: [{key: a, metadata: {b: !!binary gIGC}}]",
        ["1: error parsing metadata: !!binary value is not UTF-8 text"],
    ),
}


@pytest.mark.parametrize(("text", "problems"), BAD.values(), ids=BAD.keys())
def test_each_mistake_is_named_with_its_line(text: str, problems: list[str]) -> None:
    assert bad(text) == problems


def test_every_mistake_of_a_file_is_named() -> None:
    text = """\
    domain: d
    version: 2
    descriptors:
      - kee: a
        rate_limit:
          requests_per_unit: -1
          unlimited: maybe
        descriptors:
          - shadow_mode: 1
    """

    assert [problem.split(":")[0] for problem in bad(text)] == ["2", "4", "6", "7", "9"]


def test_a_mistake_behind_an_anchor_is_one_mistake() -> None:
    text = "descriptors: [{key: a, rate_limit: &l {units: hour}}, {key: b, rate_limit: *l}]"

    assert bad(text) == ["1: config error, unknown key 'units'"]


def test_what_cannot_be_read_is_left_out_and_the_rest_is_not() -> None:
    spec, _ = parsed(
        """\
        domain: d
        descriptors:
          - key: []
          - key: a
            rate_limit: {unit: []}
            descriptors: [{key: b}]
        """
    )

    assert spec == DomainSpec(at(1), "d", (DescriptorSpec(at(4), "a", descriptors=(DescriptorSpec(at(6), "b"),)),))


def test_a_domain_that_cannot_be_read_leaves_nothing() -> None:
    assert parsed("domain: {}")[0] is None
