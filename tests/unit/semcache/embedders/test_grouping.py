"""Which texts share an inference."""

from __future__ import annotations

import random

import pytest

from semcache.embedders.grouping import group


def cost(lengths: list[int], groups: list[list[int]]) -> int:
    """Return tokens that are computed, an inference counting ten."""
    return sum(10 + len(rows) * max(lengths[row] for row in rows) for rows in groups)


def test_equal_lengths_are_one_inference() -> None:
    assert group([20] * 16) == [list(range(16))]


def test_a_long_text_goes_apart_from_short_ones() -> None:
    assert group([9, 256, 10, 9]) == [[1], [2, 0, 3]]


def test_texts_of_nearly_the_same_length_go_together() -> None:
    assert group([20, 23, 18]) == [[1, 0, 2]]


def test_what_is_filled_up_stays_within_one_inference_more() -> None:
    assert group([20, 15, 15, 14]) == [[0, 1, 2], [3]]


@pytest.mark.parametrize("lengths", [[], [7]], ids=["none", "one"])
def test_what_cannot_be_parted_is_left_as_it_is(lengths: list[int]) -> None:
    assert group(lengths) == [[0]] * len(lengths)


@pytest.mark.parametrize("seed", range(50))
def test_every_text_is_in_one_group_and_no_text_takes_others_to_its_length(seed: int) -> None:
    dice = random.Random(seed)
    lengths = [dice.randint(2, 256) for _ in range(dice.randint(1, 40))]

    groups = group(lengths)

    assert sorted(row for rows in groups for row in rows) == list(range(len(lengths)))
    assert cost(lengths, groups) <= sum(lengths) + 20 * len(groups)
