from __future__ import annotations

import pytest

from semcache.deixis import is_deictic

DEICTIC = [
    *("yes", "continue", "Continue.", "go on", "and then?", "why", "ok thanks!", "run the tests", "fix it", "again"),
    *("what does that mean", "make it shorter", "Explain this", "can you say that again please", "", "?!", "👍", "1."),
    *("weiter bitte", "oui", "try again", "the second one"),
    *("How do I solve this difficult JEE Advanced question?", "Translate the sentence above to formal German"),
    *("Name the author of these six well known poems", "Who has sent the attached message to our customers in Spain"),
    *("Which columns does the table below have in common with ours", "Find the two roots of thi\u017f cubic equation"),
    "What will be the output of the following program?",
]
WHOLE = [
    *("how do I reset my password", "what is DNS", "capital of France", "explain quantum computing to a child"),
    "What will be the output of the following program?\nfor i in range(3):\n    print(i * i)",
    *("run the unit tests of the payment service on the staging cluster", "port 6379", "wie ist das Wetter in Berlin"),
]


@pytest.mark.parametrize("text", DEICTIC)
def test_a_turn_that_points_at_others_is_deictic(text: str) -> None:
    assert is_deictic(text)


@pytest.mark.parametrize("text", WHOLE)
def test_a_turn_that_says_what_it_is_about_is_not(text: str) -> None:
    assert not is_deictic(text)
