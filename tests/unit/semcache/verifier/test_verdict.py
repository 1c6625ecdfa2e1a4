from __future__ import annotations

import json
from importlib import resources

import pytest

from semcache.errors import ConfigError
from semcache.verifier import fitted
from semcache.verifier.guards import Guard
from semcache.verifier.verdict import CHARACTERS_MAX

SHIPPED = fitted.load()


def test_a_near_paraphrase_is_more_probably_right_than_another_question() -> None:
    verify = SHIPPED.verifier.verify
    near = verify("How do I reset my password?", "How can I reset my password?", 0.97)
    far = verify("How do I reset my password?", "How do I reset my router?", 0.75)

    assert near.guard is far.guard is None
    assert SHIPPED.curve.probability(near.score) > 0.9
    assert SHIPPED.curve.probability(far.score) < 0.6


def test_a_guard_is_told_whatever_the_score() -> None:
    verdict = SHIPPED.verifier.verify("Who won in 2014?", "Who won in 2018?", 0.99)

    assert verdict.guard is Guard.NUMBERS


@pytest.mark.parametrize("turned", [False, True])
def test_what_is_too_long_to_be_compared_is_refused_unread(*, turned: bool) -> None:
    sides = ["a" * (CHARACTERS_MAX + 1), "a"]
    verdict = SHIPPED.verifier.verify(*(reversed(sides) if turned else sides), 1.0)

    assert verdict.guard is Guard.LENGTH


def test_more_similarity_is_never_worse() -> None:
    scores = [
        SHIPPED.verifier.verify("How is cheese made?", "How do they make cheese?", similarity / 100).score
        for similarity in range(50, 101)
    ]

    assert scores == sorted(scores)


def test_a_file_fitted_on_other_features_is_refused() -> None:
    content = json.loads(resources.files("semcache.verifier").joinpath(fitted.FILE).read_text(encoding="utf-8"))

    with pytest.raises(ConfigError, match="other features"):
        fitted.parse({**content, "features": ["similarity"]})


def test_the_file_says_where_it_comes_from() -> None:
    content = json.loads(resources.files("semcache.verifier").joinpath(fitted.FILE).read_text(encoding="utf-8"))

    assert {"command", "data", "pairs", "texts", "embedding_model"} <= content["about"].keys()


def test_rare_words_are_not_in_the_file() -> None:
    content = json.loads(resources.files("semcache.verifier").joinpath(fitted.FILE).read_text(encoding="utf-8"))

    assert min(content["words"].values()) >= content["documents_min"] >= 5


def test_what_a_guard_refuses_need_not_be_scored() -> None:
    verdict = SHIPPED.verifier.verify("Who won in 2014?", "Who won in 2018?", 0.99, scores_refused=False)

    assert (verdict.guard, verdict.score) == (Guard.NUMBERS, 0.0)
