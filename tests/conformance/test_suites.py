"""How vectors are read, and which of them share a server."""

from __future__ import annotations

import pytest
import yaml

from tests.conformance.groups import groups, sample, without_store_steps
from tests.conformance.runner import is_reported
from tests.conformance.series import changes, domain_prefix, of_domain, parse_page, select
from tests.conformance.steps import KINDS
from tests.conformance.suites import FOLDER, Case, Scenario, dump, load

VECTORS = load()
SCENARIOS = {vector.id: vector for vector in VECTORS if isinstance(vector, Scenario)}


def test_ids_are_unique_over_all_files() -> None:
    ids = [vector.id for vector in VECTORS]

    assert len(ids) == len(set(ids)) > 300


def test_every_vector_of_every_file_is_read() -> None:
    written = [
        line for path in FOLDER.glob("*.yaml") for line in path.read_text().splitlines() if line[:8] == "  - id: "
    ]

    assert sorted(f"  - id: {vector.id}" for vector in VECTORS) == sorted(written)


def test_a_sample_has_some_of_every_suite_that_shares_a_server() -> None:
    chosen = sample(VECTORS)
    kinds = {kind for scenario in chosen for step in scenario.steps for kind in step}

    assert {one.suite for one in chosen} == {one.suite for one in SCENARIOS.values() if not one.is_isolated}
    assert {"request", "http", "health", "stats", "redis_keys"} <= kinds
    assert 36 <= len(chosen) <= 96


def test_every_step_has_one_kind() -> None:
    kinds = [len(KINDS.keys() & step.keys()) for scenario in SCENARIOS.values() for step in scenario.steps]

    assert set(kinds) == {1}


@pytest.mark.parametrize(
    ("scenario", "names"),
    [
        pytest.param("rkeys-format", ["rkeys-format.yaml"], id="one document"),
        pytest.param("merge-two", ["merge-two-0.yaml", "merge-two-1.yaml"], id="a list of documents"),
        pytest.param("swap-add-remove", ["swap-base.yaml"], id="a map of file names"),
        pytest.param("noconf-broken", ["noconf.yaml"], id="a document that is text"),
        pytest.param("healthconf-add", [], id="no document"),
    ],
)
def test_config_names_its_files(scenario: str, names: list[str]) -> None:
    assert list(SCENARIOS[scenario].files) == names


def test_the_domain_of_a_scenario_is_that_of_its_config_or_its_request() -> None:
    assert SCENARIOS["noconf-broken"].domain == "noconf"
    assert SCENARIOS["stats-domain-not-found"].domain == "stats-domain-not-found"
    assert SCENARIOS["swap-add-remove"].domains == ("swap-base", "swap-new")


def test_dumped_documents_mean_the_same_to_every_reader() -> None:
    document = {"domain": "d", "name": "n", "yes": "y", "exponent": "1e3", "text": "true", "number": 1}

    dumped = dump(document)
    assert yaml.safe_load(dumped) == document
    assert "name: 'n'" in dumped
    assert "exponent: '1e3'" in dumped


def test_text_is_written_as_it_is() -> None:
    assert dump("domain:\t") == "domain:\t"


def test_groups_hold_every_vector_once() -> None:
    held = [vector.id for group in groups(VECTORS) for vector in group.vectors]

    assert sorted(held) == sorted(vector.id for vector in VECTORS)


def test_vectors_with_other_settings_never_share_a_server() -> None:
    assert all({vector.settings for vector in group.vectors} == {group.settings} for group in groups(VECTORS))


def test_an_isolated_scenario_has_a_server_with_its_own_files_only() -> None:
    (group,) = [group for group in groups(VECTORS) if SCENARIOS["swap-bad"] in group.vectors]

    assert list(group.files) == ["swap-good.yaml"]


def test_memory_leaves_out_what_looks_into_a_store_and_nothing_else() -> None:
    kept = {vector.id for vector in without_store_steps(VECTORS)}
    left_out = {scenario.id for scenario in SCENARIOS.values() if scenario.id not in kept}

    assert {"rkeys-format", "persec-split", "store-hang", "json-redis-error"} <= left_out
    assert {"json-ok", "stats-near", "badm-same-parent"} <= kept
    assert all(SCENARIOS[name].has_store_steps for name in left_out)


@pytest.mark.parametrize(
    ("line", "is_so"),
    [
        ("ERROR Error loading new configuration: a.yaml:3: share 'x'", True),
        ("level=error msg=\"Error loading new configuration: a.yaml: share \\'x\\'\"", True),
        ("Error loading new configuration: other.yaml:3: share 'x'", False),
        ("Error loading new configuration: a.yaml:3: share 'y'", False),
        ("a.yaml:3: share 'x'", False),
    ],
)
def test_a_refusal_is_a_line_with_the_file_and_the_message(line: str, is_so: bool) -> None:  # noqa: FBT001 - a table
    case = Case("suite", (), "a", "title", {"a.yaml": ""}, "share 'x'")

    assert is_reported(f"before\n{line}\nafter", case) == is_so


@pytest.mark.parametrize(("domain", "name"), [("a.b", "a.b"), ("a:b|c", "a_b_c"), ("at 10.0.0.1:80", "at 10_0_0_1_80")])
def test_statistics_are_named_after_the_cleaned_domain(domain: str, name: str) -> None:
    assert domain_prefix(domain) == f"ratelimit.service.rate_limit.{name}."


def test_statistics_are_compared_by_what_changed() -> None:
    prefix = domain_prefix("d")

    changed = changes({f"{prefix}k.hits": 2, f"{prefix}still": 1}, {f"{prefix}k.hits": 5, f"{prefix}still": 1, "x": 1})
    assert of_domain(changed, "d") == {"k.hits": 3}


def test_a_prometheus_page_is_read_by_series() -> None:
    page = parse_page('# HELP a b\na{x="1 {",y="2"} 3.0\nb 4\nc{x="1"} 1e3 1700000000\n')

    assert page == {'a{x="1 {",y="2"}': 3.0, "b": 4.0, 'c{x="1"}': 1000.0}
    assert select(page, ['y="2"', "b"]) == {'a{x="1 {",y="2"}': 3.0, "b": 4.0}
