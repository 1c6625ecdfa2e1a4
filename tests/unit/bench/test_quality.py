"""The protocol that figures of quality are taken by, on corpora small enough to check by hand."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from bench.quality.data import Pair, corpus, folds, read_pairs
from bench.quality.neighbours import neighbours
from bench.quality.protocol import Stream
from bench.quality.sheet import Sheet
from bench.quality.swaps import SWAPS, swapped

PAIRS = [
    Pair("a1", "a2", is_same=True),
    Pair("a2", "a3", is_same=True),
    Pair("a1", "b1", is_same=False),
    Pair("c1", "c2", is_same=True),
]
# a1 and a2 are near, b1 is nearly a2; c1 and c2 stand apart.
VECTORS = np.array([[1, 0, 0], [0.96, 0.28, 0], [0, 1, 0], [0.9, 0.436, 0], [0, 0, 1], [0, 0.3, 0.954]], np.float32)


def stream() -> tuple[Stream, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    found = corpus(PAIRS)
    near = neighbours(VECTORS, 0.5)
    classes = np.array(found.classes)
    a, b = near.rows, near.columns
    same = classes[a] == classes[b]
    different = {tuple(sorted(pair)) for pair in found.known_different()}
    known = np.array([tuple(sorted((classes[x], classes[y]))) in different for x, y in zip(a, b, strict=True)])
    sheet = Sheet(a, b, near.similarities[:, None], same, same | known, np.zeros(len(a), np.bool_))
    return Stream(near, sheet, range(len(found.texts))), near.similarities


def test_duplicates_are_joined_transitively() -> None:
    found = corpus(PAIRS)
    a1, a2, a3, b1 = (found.classes[found.texts.index(name)] for name in ("a1", "a2", "a3", "b1"))

    assert a1 == a2 == a3 != b1


def test_no_label_joins_two_folds() -> None:
    found = corpus([*PAIRS, *(Pair(f"x{at}", f"y{at}", is_same=at % 2 == 0) for at in range(40))])
    fold = folds(found, 4, 1)

    assert all(fold[a] == fold[b] for a, b, _ in found.pairs)
    assert set(fold) == {0, 1, 2, 3}


def test_a_hit_is_not_inserted_and_a_known_wrong_one_is_counted() -> None:
    runner, similarities = stream()
    loose, strict = runner.run(similarities, 0.8), runner.run(similarities, 0.99)

    # a2 hits a1; b1 is nearest to a1, since a2 was not inserted; c2 hits c1.
    assert (loose.hits, loose.strict_wrong, loose.known_wrong_requests) == (3, 1, (3,))
    assert strict.hits == 0


def test_the_lowest_threshold_that_keeps_a_rate_is_found() -> None:
    runner, similarities = stream()

    threshold, outcome = runner.at_hit_rate(similarities, 2 / 6)

    assert outcome.hits == 2
    assert runner.run(similarities, threshold - 0.06).hits == 3


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("numbers", "What are 12 good books?"),
        ("places", "Where is India?"),
        ("people", "Who is Newton?"),
        ("products", "Is Java hard?"),
        ("names of no class", "Is Zomato good?"),
    ],
)
def test_a_swap_changes_one_thing(name: str, text: str) -> None:
    (pair,) = swapped([text, "nothing of the kind"], SWAPS[name], 5, 1)
    changed = [(x, y) for x, y in zip(pair.a.split(), pair.b.split(), strict=True) if x != y]

    assert pair.a == text
    assert len(changed) == 1
    assert not pair.is_same


def test_pairs_are_read_from_lines_and_tables(tmp_path: Path) -> None:
    lines, table = tmp_path / "pairs.jsonl", tmp_path / "pairs.tsv"
    lines.write_text('{"a": "x", "b": "y", "duplicate": 1}\n\n{"a": "x", "b": "z", "label": "0"}\n')
    table.write_text("premise\thypothesis\tlabel\nx\ty\t1\nx\tz\t0\n")

    assert read_pairs(lines) == read_pairs(table) == [Pair("x", "y", is_same=True), Pair("x", "z", is_same=False)]


def test_swaps_are_the_same_for_a_seed() -> None:
    texts = [f"What are {at} things in India?" for at in random.Random(1).sample(range(100), 20)]

    assert swapped(texts, SWAPS["places"], 10, 3) == swapped(texts, SWAPS["places"], 10, 3)
