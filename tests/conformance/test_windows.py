"""Where windows begin and end, and how long a runner waits for a good place in them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.suites import Scenario
from tests.conformance.windows import begin, expand, left_seconds, wait_seconds

HOUR = 3600 * 472_222
NOW = HOUR + 800.25


def _scenario(unit: str, steps: tuple[dict[str, Any], ...] = ()) -> Scenario:
    rules = f"domain: d\ndescriptors: [{{key: k, rate_limit: {{unit: {unit}, requests_per_unit: 1}}}}]\n"
    return Scenario("suite", (), "id", "title", {"d.yaml": rules}, steps)


@pytest.mark.parametrize(
    ("unit", "left"),
    [("SECOND", 1), ("MINUTE", 40), ("HOUR", 2800), ("DAY", 86_400 - (HOUR + 800) % 86_400)],
)
def test_a_window_ends_where_the_next_begins(unit: str, left: int) -> None:
    assert left_seconds(unit, NOW) == left
    assert begin(unit, NOW + left) == int(NOW) + left


def test_window_names_in_keys_become_the_begin_of_the_window() -> None:
    expanded = expand("d_k_{hour}_{minute}_{tenant}", NOW)

    assert expanded == f"d_k_{HOUR}_{HOUR + 780}_{{tenant}}"


@pytest.mark.parametrize(
    ("unit", "second_of_hour", "wait"),
    [
        pytest.param("hour", 3579.0, 0.0, id="an hour with time left"),
        pytest.param("hour", 3580.5, 19.5, id="an hour that ends soon"),
        pytest.param("day", 3590.0, 10.0, id="any scenario avoids the end of an hour"),
        pytest.param("minute", 47.0, 0.0, id="a minute with time left"),
        pytest.param("minute", 49.5, 10.5, id="a minute that ends soon"),
        pytest.param("hour", 49.5, 0.0, id="the end of a minute matters to minutes only"),
        pytest.param("second", 10.25, 0.75, id="a second begins at its start"),
    ],
)
def test_a_scenario_waits_until_no_window_ends_too_soon(unit: str, second_of_hour: float, wait: float) -> None:
    assert wait_seconds(_scenario(unit), HOUR + second_of_hour) == wait


def test_a_unit_of_an_override_counts_as_used() -> None:
    limit = {"requests_per_unit": 1, "unit": "MINUTE"}
    step = {"request": {"domain": "d", "descriptors": [{"entries": [["k", "v"]], "limit": limit}]}}

    assert _scenario("hour", (step,)).has_unit("minute")
    assert not _scenario("hour").has_unit("minute")
