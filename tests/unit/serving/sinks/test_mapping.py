from __future__ import annotations

from pathlib import Path

import pytest

from serving.settings import SettingsError
from serving.sinks.mapping import Mapped, Mapper, read_mapper

# In the words of the file that Envoy Gateway mounts.
FILE = r"""
mappings:
  - match: "ratelimit.service.rate_limit.*.*.near_limit"
    name: "near_$2"
    timer_type: "histogram"
    labels: {domain: "$1", key1: "${2}", fixed: 1}
  - match: 'ratelimit\.service\.(\w+)\.(.*)'
    match_type: regex
    name: "other"
    labels: {rest: "$2$9"}
  - match: "ratelimit.go.*"
    action: drop
  - match: "both"
    match_metric_type: timer
    name: "of-timers"
  - match: "both"
    name: "of the rest"
"""


@pytest.fixture
def mapper(tmp_path: Path) -> Mapper:
    path = tmp_path / "conf.yaml"
    path.write_text(FILE)
    return read_mapper(str(path))


def test_a_star_stands_for_one_part(mapper: Mapper) -> None:
    found = mapper.find("ratelimit.service.rate_limit.llm.user.near_limit", "counter")

    assert found == Mapped("near_user", {"domain": "llm", "key1": "user", "fixed": "1"})


def test_a_regular_expression_fits_the_whole_name_and_comes_after_globs(mapper: Mapper) -> None:
    found = mapper.find("ratelimit.service.rate_limit.llm.user.model.near_limit", "counter")

    assert found == Mapped("other", {"rest": "llm.user.model.near_limit"})


def test_what_no_rule_fits_is_left_to_others(mapper: Mapper) -> None:
    assert mapper.find("x.ratelimit.service.a.b", "counter") is None


def test_a_rule_may_drop(mapper: Mapper) -> None:
    assert mapper.find("ratelimit.go.threads", "gauge") == "drop"


def test_a_rule_may_be_for_one_kind_and_names_are_mended(mapper: Mapper) -> None:
    assert mapper.find("both", "timer") == Mapped("of_timers")
    assert mapper.find("both", "counter") == Mapped("of_the_rest")


def test_the_usual_kind_of_match_can_be_set(tmp_path: Path) -> None:
    path = tmp_path / "conf.yaml"
    path.write_text("{defaults: {match_type: regex}, mappings: [{match: 'a.+', name: x}]}")

    assert read_mapper(str(path)).find("a.b.c", "counter") == Mapped("x")


def test_an_empty_file_has_no_rules(tmp_path: Path) -> None:
    path = tmp_path / "conf.yaml"
    path.write_text("")

    assert read_mapper(str(path)).find("a", "counter") is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("mappings: [{match: a, naem: b}]", "mappings.0.naem: Extra inputs are not permitted"),
        ("mappings: [{name: b}]", "mappings.0.match: Field required"),
        ("mappings: [{match: '(', match_type: regex}]", "'(': missing ), unterminated subpattern at position 0"),
        ("mappings: [", "while parsing a flow node"),
        ("mappings: [{match: a, labels: [b]}]", "mappings.0.labels: Input should be a valid dictionary"),
        ("#" * (1024 * 1024 + 1), "more than 1048576 bytes"),
    ],
    ids=["unknown word", "no match", "bad pattern", "no YAML", "labels that are none", "too large"],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_place(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "conf.yaml"
    path.write_text(text)

    with pytest.raises(SettingsError) as raised:
        read_mapper(str(path))

    assert str(raised.value).startswith(f"PROMETHEUS_MAPPER_YAML: {path}: {problem}")


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(SettingsError, match=r"PROMETHEUS_MAPPER_YAML: /nowhere\.yaml: No such file"):
        read_mapper("/nowhere.yaml")
