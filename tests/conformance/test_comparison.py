"""The judge itself: what it lets pass and what it does not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.comparison import answer_differences, differences, is_equal, listed_differences, overall_codes

NOW = 1_700_000_000.5  # 13 min 20 s into an hour

STATUS = {
    "code": "OK",
    "current_limit": {"requests_per_unit": 5, "unit": "HOUR"},
    "limit_remaining": 4,
    "duration_until_reset": "window",
}


def test_an_equal_answer_has_no_differences() -> None:
    actual = STATUS | {"duration_until_reset": 2800}

    assert differences({"statuses": [STATUS]}, {"statuses": [actual]}, NOW) == []


@pytest.mark.parametrize(
    ("actual", "problem"),
    [
        pytest.param({"a": 2}, "a: expected 1, got 2", id="another value"),
        pytest.param({}, "a: expected 1, got nothing", id="a field is missing"),
        pytest.param({"a": 1, "b": 3}, "b: expected nothing, got 3", id="a field too many"),
        pytest.param({"a": True}, "a: expected 1, got True", id="a boolean is no number"),
        pytest.param({"a": "1"}, "a: expected 1, got '1'", id="a text is no number"),
    ],
)
def test_a_difference_is_named(actual: dict[str, Any], problem: str) -> None:
    assert differences({"a": 1}, actual, NOW) == [problem]


@pytest.mark.parametrize("zero", [None, 0, "", False, []])
def test_unset_and_zero_are_the_same(zero: object) -> None:
    assert differences({"a": zero}, {}, NOW) == []
    assert differences({}, {"a": zero}, NOW) == []


def test_an_empty_message_is_not_an_unset_one() -> None:
    assert differences({}, {"current_limit": {}}, NOW) == ["current_limit: expected nothing, got {}"]
    assert differences({"current_limit": {}}, {}, NOW) == ["current_limit: expected {}, got nothing"]


@pytest.mark.parametrize("actual", [["b", "a"], ["a"], ["a", "b", "b"]])
def test_lists_are_compared_in_order_and_whole(actual: list[str]) -> None:
    assert differences({"list": ["a", "b"]}, {"list": actual}, NOW) != []


def test_an_empty_place_in_a_list_counts() -> None:
    assert differences({"list": ["a", ""]}, {"list": ["a"]}, NOW) != []


@pytest.mark.parametrize(
    ("pattern", "fits", "does_not_fit"),
    [
        ("window HOUR", [2799, 2800, 2801, "2800", "2800s"], [2798, 2802, "2802s", "soon", None, True]),
        ("window MINUTE", [39, 40, 41], [38, 42]),
        ("<=3", [0, 3, None], [4, "x"]),
        ("1..3", [1, 3, "2"], [0, 4, None, "x"]),
        ("~part", ["a part of"], ["whole", None]),
    ],
)
def test_patterns(pattern: str, fits: list[object], does_not_fit: list[object]) -> None:
    assert [value for value in fits if not is_equal(pattern, value, NOW)] == []
    assert [value for value in does_not_fit if is_equal(pattern, value, NOW)] == []


def test_a_bare_window_is_that_of_the_limit_beside_it() -> None:
    statuses = [STATUS, STATUS | {"current_limit": {"requests_per_unit": 5, "unit": "MINUTE"}}]
    actual = [
        STATUS | {"duration_until_reset": 2800},
        STATUS | {"current_limit": {"requests_per_unit": 5, "unit": "MINUTE"}, "duration_until_reset": 2800},
    ]

    assert differences(statuses, actual, NOW) == ["[1].duration_until_reset: expected 'window', got 2800"]


@pytest.mark.parametrize(
    ("expected", "problems"),
    [
        ({}, []),
        ({"code": "UNKNOWN"}, []),
        ({"code": "UNKNOWN", "message": "must not"}, []),
        ({"code": "INTERNAL"}, ["error.code: expected INTERNAL, got UNKNOWN (domain must not be empty)"]),
        ({"message": "may not"}, ["error.message: expected 'may not' in 'domain must not be empty'"]),
    ],
)
def test_of_an_error_only_what_is_listed_is_compared(expected: dict[str, str], problems: list[str]) -> None:
    actual = {"error": {"code": "UNKNOWN", "message": "domain must not be empty"}}

    assert answer_differences({"error": expected}, actual, NOW) == problems


def test_an_error_is_no_answer_and_an_answer_no_error() -> None:
    error = {"error": {"code": "UNKNOWN", "message": ""}}

    assert answer_differences({"error": {}}, {"overall_code": "OK"}, NOW) != []
    assert answer_differences({"overall_code": "OK"}, error, NOW) != []
    assert answer_differences({}, error, NOW) != []


def test_any_of_takes_one_of_several() -> None:
    expected = {"any_of": [{"overall_code": "OK"}, {"error": {"code": "INTERNAL"}}]}

    assert answer_differences(expected, {"overall_code": "OK"}, NOW) == []
    assert answer_differences(expected, {"error": {"code": "INTERNAL", "message": ""}}, NOW) == []
    assert len(answer_differences(expected, {"overall_code": "OVER_LIMIT"}, NOW)) == 2


def test_of_http_only_what_is_listed_is_compared() -> None:
    actual = {"status": 200, "text": "a\nb", "lines": ["a", "b"], "content_type": "text/plain"}

    assert listed_differences({"status": 200, "lines": ["b"]}, actual, NOW) == []
    assert listed_differences({"status": 404, "lines": ["c"]}, actual, NOW) == [
        "no line 'c'",
        "status: expected 404, got 200",
    ]


def test_json_over_http_is_compared_whole() -> None:
    actual = {"status": 200, "json": {"overallCode": "OK", "statuses": [{"code": "OK"}], "rawBody": ""}}

    assert listed_differences({"json": {"overallCode": "OK", "statuses": [{"code": "OK"}]}}, actual, NOW) == []
    assert listed_differences({"json": {"overallCode": "OK"}}, actual, NOW) != []


@pytest.mark.parametrize(
    ("codes", "run"),
    [([], ""), (["OK"], "OKx1"), (["OK", "OK", "OVER_LIMIT", "OK", "ERROR"], "OKx2 OVER_LIMITx1 OKx1 ERRORx1")],
)
def test_overall_codes_are_counted_in_runs(codes: list[str], run: str) -> None:
    assert overall_codes(codes) == run
