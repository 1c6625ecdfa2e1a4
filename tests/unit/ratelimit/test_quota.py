from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit.quota import Bucket, shares


@pytest.mark.parametrize(
    ("total", "demands", "given_"),
    [
        (100, [10.0], [100]),
        (100, [50.0, 50.0], [50, 50]),
        (100, [10.0, 500.0], [10, 90]),
        (90, [500.0, 500.0, 500.0], [30, 30, 30]),
        (100, [0.0, 0.0], [50, 50]),
        (100, [10.0, 20.0], [45, 55]),
        (0, [5.0, 5.0], [0, 0]),
        (7, [], []),
    ],
)
def test_nobody_gets_more_than_he_asks_while_somebody_else_lacks(
    total: int, demands: list[float], given_: list[int]
) -> None:
    assert shares(total, demands) == given_


@given(total=st.integers(0, 10_000), demands=st.lists(st.floats(0, 1e6), max_size=20))
def test_shares_are_no_more_than_there_is(total: int, demands: list[float]) -> None:
    given_ = shares(total, demands)

    assert all(share >= 0 for share in given_)
    assert sum(given_) <= total


def test_who_reports_no_more_has_no_share() -> None:
    bucket = Bucket()
    bucket.report("a", 10, 1, 0.0)
    bucket.report("b", 10, 1, 0.0)
    both = bucket.divide(100)

    bucket.report("b", 10, 1, 3.0)

    assert (both, bucket.divide(100)) == ({"a": 50, "b": 50}, {"b": 100})


def test_who_leaves_has_no_share() -> None:
    bucket = Bucket()
    bucket.report("a", 10, 1, 0.0)

    bucket.leave("a")

    assert (bucket.divide(100), bucket.is_empty) == ({}, True)
