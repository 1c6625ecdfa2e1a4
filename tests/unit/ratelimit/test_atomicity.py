from __future__ import annotations

import pytest

from ratelimit.atomicity import Home
from ratelimit.errors import ConfigError
from ratelimit.tree import build
from tests.fakes.rules import read_specs

KEPT = """
domain: d
descriptors:
  - key: tenant
    rate_limit: { unit: minute, amount: 5, on_deny: keep }
    descriptors:
      - key: model
        rate_limit: { unit: second, requests_per_unit: 5 }
  - key: region
    rate_limit: { unit: day, requests_per_unit: 5 }
"""
TAGGED = KEPT + "hash_tag: [tenant]\n"
BURNT = KEPT.replace("keep", "burn")
WHY = "the rule at rules.yaml:5 makes requests of this domain all or nothing"


def refused(text: str, home: Home) -> list[str]:
    try:
        build(read_specs(text), home=home)
    except ConfigError as error:
        return [f"{problem.line}: {problem.message}" for problem in error.problems]
    return []


@pytest.mark.parametrize("home", [Home(), Home(is_cluster=True), Home(has_per_second=True)], ids=str)
def test_where_nothing_is_kept_counters_may_live_anywhere(home: Home) -> None:
    assert refused(BURNT, home) == []


def test_one_server_can_keep_everything() -> None:
    assert refused(KEPT, Home()) == []


def test_a_cluster_keeps_what_shares_a_slot() -> None:
    tag = f"{WHY}, which a cluster can do in one slot: `hash_tag` names the entries that share it"

    assert refused(KEPT, Home(is_cluster=True)) == [f"5: {tag}", f"8: {tag}", f"10: {tag}"]
    assert refused(TAGGED, Home(is_cluster=True)) == [
        f"10: {WHY}, but this descriptor does not begin with tenant, as `hash_tag` says"
    ]


def test_a_server_for_limits_per_second_cannot_be_kept_together_with_another() -> None:
    assert refused(KEPT, Home(has_per_second=True)) == [
        f"8: {WHY}, but limits per second are counted by another server (REDIS_PERSECOND)"
    ]


def test_without_scripts_only_the_references_rules_count() -> None:
    assert refused(KEPT, Home(has_scripts=False)) == [
        "5: this rule needs scripts, which REDIS_SCRIPTS=off and proxies rule out"
    ]
    assert refused(BURNT, Home(has_scripts=False)) == []


def test_where_there_are_no_scripts_no_limit_can_be_changed_while_it_is_in_force() -> None:
    text = BURNT.replace("requests_per_unit: 5 }", "requests_per_unit: 5, ceiling: 9 }", 1)

    assert "8: this rule needs scripts, which REDIS_SCRIPTS=off and proxies rule out" in refused(
        text, Home(has_scripts=False)
    )
    assert refused(text, Home(is_cluster=True)) == []


def test_where_there_are_no_scripts_a_rule_has_one_limit() -> None:
    text = "domain: d\ndescriptors:\n  - key: a\n    rate_limit: {limits: [{unit: day, amount: 1}, {unit: hour, amount: 1}]}\n"

    assert refused(text, Home(has_scripts=False)) == [
        "4: this rule needs scripts, which REDIS_SCRIPTS=off and proxies rule out"
    ]
