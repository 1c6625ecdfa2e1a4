from __future__ import annotations

import pytest

from semcache.verifier.numbers import read_number


@pytest.mark.parametrize(
    ("written", "value", "unit"),
    [
        ("10", "10", None),
        ("010", "10", None),
        ("0", "0", None),
        ("10,000", "10000", None),
        ("10k", "10000", None),
        ("3m", "3000000", None),
        ("5bn", "5000000000", None),
        ("2lakh", "200000", None),
        ("3.10", "3.10", None),
        ("3.1", "3.1", None),
        ("10:30", "10:30", None),
        ("1/2", "1/2", None),
        ("3rd", "3", None),
        ("$20", "20", "usd"),
        ("20%", "20", "percent"),
        ("5km", "5", "km"),
        ("90s", "90s", None),
        ("3d", "3d", None),
    ],
)
def test_a_number_is_its_value_and_its_unit(written: str, value: str, unit: str | None) -> None:
    assert read_number(written) == (value, unit, value)


def test_what_is_no_number_is_left_as_it_is() -> None:
    assert read_number("x") == ("x", None, "x")
