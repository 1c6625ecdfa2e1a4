"""Whatever bytes a rule file holds, it is rules or a refusal that names lines; never anything else."""

from __future__ import annotations

import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from ratelimit import tree
from ratelimit.config.grammar import read
from ratelimit.rules import RuleSet
from serving.yaml_nodes import Bounds

BOUNDS = Bounds(nodes_max=2_000, depth_max=40)
KEYS = (
    "domain", "key", "value", "descriptors", "rate_limit", "unit", "requests_per_unit", "unlimited", "shadow_mode",
    "quota_mode", "name", "replaces", "detailed_metric", "value_to_metric", "share_threshold", "metadata", "<<", "x",
)  # fmt: skip
WHOLE = b"""domain: d
descriptors:
  - key: tenant
    value: gold*
    share_threshold: true
    metadata: {tier: 1, deep: {a: [1, 2]}}
    rate_limit: &limit {unit: minute, requests_per_unit: 10, name: n, replaces: [{name: other}]}
    descriptors:
      - {key: model, shadow_mode: true, rate_limit: {<<: *limit, unlimited: false}}
"""

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 2**33),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(KEYS),
    st.dates(),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | scalars, inner, max_size=6),
    max_leaves=20,
)
tokens = st.lists(
    st.sampled_from([*KEYS, ":", "- ", "\n", "  ", "{", "}", "[", "]", "&a ", "*a", "!!int ", "'", "#", "|", "---"])
)


def check(content: bytes) -> None:
    lines = content.count(b"\n") + content.count(b"\r") + 2
    spec, problems = read("f", content, BOUNDS)
    assert all(problem.file == "f" and 0 <= problem.line <= lines for problem in problems)
    if spec is not None and not problems:
        builder = tree.problems([spec])
        assert builder or isinstance(tree.build([spec]), RuleSet)


@given(st.binary(max_size=300))
@example(b"\xef\xbb\xbfdomain: d")
@example(b"\xff\xfed\x00:\x00 \x001\x00")
@example(b"!!python/object/apply:os.system ['true']")
@example(b"domain: d\ndescriptors: &a [*a]")
def test_of_any_bytes(content: bytes) -> None:
    check(content)


@given(tokens.map("".join))
def test_of_anything_that_looks_like_yaml(text: str) -> None:
    check(text.encode())


@given(values)
def test_of_any_value_in_any_place(value: object) -> None:
    check(yaml.safe_dump(value).encode())


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 5), st.binary(max_size=3))
def test_of_rules_that_were_damaged(position: int, length: int, instead: bytes) -> None:
    check(WHOLE[:position] + instead + WHOLE[position + length :])


def test_of_rules_that_are_cut_anywhere() -> None:
    for position in range(len(WHOLE)):
        check(WHOLE[:position])


def test_the_whole_is_rules() -> None:
    spec, problems = read("f", WHOLE, BOUNDS)

    assert (problems, spec is not None) == ([], True)
