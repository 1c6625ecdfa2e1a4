from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semcache.verifier.trees import Forest, Split

# x0 ≤ 1 → 10; else x1 ≤ 2 → 20; else 30. And a tree of one leaf, and one that asks x1 only.
SPLITS = [Split(0, 0, 1.0, 0b001), Split(0, 1, 2.0, 0b010), Split(2, 1, 0.0, 0b01)]
LEAVES = [[10.0, 20.0, 30.0], [0.5], [-1.0, 1.0]]


def walk(x0: float, x1: float) -> float:
    first = 10.0 if x0 <= 1.0 else 20.0 if x1 <= 2.0 else 30.0
    return first + 0.5 + (-1.0 if x1 <= 0.0 else 1.0)


@given(st.floats(-3, 5), st.floats(-3, 5))
def test_a_score_is_where_a_walk_would_end(x0: float, x1: float) -> None:
    assert Forest(SPLITS, LEAVES, 2).score([x0, x1]) == walk(x0, x1)


@pytest.mark.parametrize(("x0", "x1"), [(1.0, 2.0), (1.0000001, 2.0), (2.0, 2.0000001), (0.0, 0.0)])
def test_a_value_at_the_threshold_goes_left(x0: float, x1: float) -> None:
    assert Forest(SPLITS, LEAVES, 2).score([x0, x1]) == walk(x0, x1)


def test_a_tree_with_too_many_leaves_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 16 leaves"):
        Forest([], [[0.0] * 17], 1)
