from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semcache.verifier.features import FEATURES, Weights, compare
from semcache.verifier.pair import Pair
from semcache.verifier.reading import read

WEIGHTS = Weights({"learn": 2.0, "python": 4.0, "fast": 3.0, "java": 4.0, "paris": 5.0}, 8.0)


def features(a: str, b: str, similarity: float = 0.9) -> dict[str, float]:
    return dict(zip(FEATURES, compare(Pair(read(a), read(b)), similarity, WEIGHTS), strict=True))


def test_the_same_prompt_misses_nothing() -> None:
    found = features("How do I learn Python?", "How do I learn Python?", 1.0)

    assert {name: value for name, value in found.items() if value} == {
        "similarity": 1.0,
        "weight_jaccard": 1.0,
        "stem_jaccard": 1.0,
        "content_jaccard": 1.0,
        "trigram_jaccard": 1.0,
        "bigram_jaccard": 1.0,
        "length_shorter": 5.0,
        "missing_spelling": 1.0,
        "weight_shared": 4.0,
    }


def test_golden_features_of_a_pair() -> None:
    found = features("How do I learn Python fast?", "How do you learn Java in 2 weeks?")

    assert {name: round(value, 4) for name, value in found.items()} == {
        "similarity": 0.9,
        "numbers_differ": 1.0,
        "numbers_disjoint": 0.0,
        "both_have_numbers": 0.0,
        "negation_differs": 0.0,
        "opposite_pairs": 0.0,
        "question_differs": 0.0,
        "names_missing": 2.0,
        "names_disjoint": 1.0,
        "name_weight_missing": 4.0,
        "persons_differ": 2.0,
        "units_differ": 1.0,
        "members_differ": 2.0,
        "missing_share_a": 0.7778,
        "missing_share_b": 0.9091,
        "missing_share_min": 0.7778,
        "missing_share_max": 0.9091,
        "missing_peak_a": 4.0,
        "missing_peak_b": 8.0,
        "missing_peak_min": 4.0,
        "weight_jaccard": 0.069,
        "stem_jaccard": 0.2727,
        "content_jaccard": 0.1667,
        "trigram_jaccard": 0.234,
        "bigram_jaccard": 0.0909,
        "length_ratio": 0.2877,
        "length_shorter": 6.0,
        "same_stems_reordered": 0.0,
        "missing_spelling": 0.0,
        "weight_shared": 2.0,
    }


@pytest.mark.parametrize(
    ("a", "b", "name", "value"),
    [
        ("cats 2", "cats 3", "numbers_disjoint", 1.0),
        ("big cats", "small cats", "opposite_pairs", 1.0),
        ("see Paris", "see Rome", "names_disjoint", 1.0),
        ("see Paris", "see Rome", "names_missing", 2.0),
        ("dog bites man", "man bites dog", "same_stems_reordered", 1.0),
        ("why cats", "how cats", "question_differs", 1.0),
        ("cats", "no cats", "negation_differs", 1.0),
    ],
)
def test_a_difference_shows(a: str, b: str, name: str, value: float) -> None:
    assert features(a, b)[name] == value


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_two_texts_can_be_compared_and_shares_are_shares(a: str, b: str) -> None:
    found = features(a, b)
    shares = [value for name, value in found.items() if name.endswith(("jaccard", "_share_a", "_share_b"))]

    assert len(found) == len(FEATURES)
    assert all(0.0 <= share <= 1.0 for share in shares)


@given(st.text("ab ", max_size=12), st.text("ab ", max_size=12))
def test_letters_in_common_are_those_of_all_runs_of_three(a: str, b: str) -> None:
    line_a, line_b = (f" {' '.join(read(text).words)} " for text in (a, b))
    mine, theirs = ({line[at : at + 3] for at in range(len(line) - 2)} for line in (line_a, line_b))
    union = len(mine | theirs)

    assert features(a, b)["trigram_jaccard"] == (len(mine & theirs) / union if union else 1.0)
