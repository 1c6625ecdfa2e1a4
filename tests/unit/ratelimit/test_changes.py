from __future__ import annotations

from ratelimit.changes import changes
from tests.fakes.rules import read_rules

RULES = """
domain: d
descriptors:
  - key: a
    rate_limit: {{ {} }}
"""


def told(before: str, after: str) -> list[str]:
    return list(changes(read_rules(RULES.format(before)), read_rules(RULES.format(after))))


def test_a_changed_amount_keeps_what_is_used() -> None:
    assert told("unit: day, requests_per_unit: 5", "unit: day, requests_per_unit: 9") == []


def test_a_changed_window_or_algorithm_says_what_becomes_of_the_counters() -> None:
    rest = "its counters begin at 0, what was spent leaves with the old windows"

    assert told("unit: day, amount: 5", "window: 5h, amount: 5") == [
        f"rules.yaml:5: d.a counted per day by fixed_window and now counts per 18000s by fixed_window: {rest}"
    ]
    assert told("unit: day, amount: 5", "unit: day, amount: 5, algorithm: sliding_window") == [
        f"rules.yaml:5: d.a counted per day by fixed_window and now counts per day by sliding_window: {rest}"
    ]


def test_a_plain_counter_goes_on_where_both_windows_began_at_one_moment() -> None:
    (sentence,) = told("unit: hour, requests_per_unit: 5", "unit: day, requests_per_unit: 5")

    assert "begin at 0, or go on where both windows began at one moment" in sentence
