from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semcache.verifier.words import Token, expand, is_identifier, stem, tokens


def kinds(text: str) -> list[tuple[str, str]]:
    return [(token.text, token.kind) for token in tokens(text) if token.kind != "stop"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What's C++?", [("What's", "word"), ("C++", "word")]),
        ("C# and F#", [("C#", "word"), ("and", "word"), ("F#", "word")]),
        ("pay $20, or 10%", [("pay", "word"), ("$20", "number"), ("or", "word"), ("10%", "number")]),
        ("see https://a.example/x?y=1 now", [("see", "word"), ("https://a.example/x?y=1", "code"), ("now", "word")]),
        ("mail me@a.example", [("mail", "word"), ("me@a.example", "code")]),
        ("git commit --amend", [("git", "word"), ("commit", "word"), ("--amend", "code")]),
        ("`a b` is user_id", [("`a b`", "code"), ("is", "word"), ("user_id", "code")]),
        ("is a == b", [("is", "word"), ("a", "word"), ("==", "code"), ("b", "word")]),
        ("os.path.join f()", [("os.path.join", "code"), ("f()", "code")]),
        ("東京 is", [("東", "ideograph"), ("京", "ideograph"), ("is", "word")]),
        ("the U.S. army", [("the", "word"), ("US", "word"), ("army", "word")]),
    ],
)
def test_a_text_falls_into_words_numbers_and_code(text: str, expected: list[tuple[str, str]]) -> None:
    assert kinds(text) == expected


def test_of_punctuation_only_the_start_of_a_sentence_is_told() -> None:
    found = [token.text for token in tokens("Ann, is she (or he) in? Yes; so.") if token.kind == "stop"]

    assert found == ["(", "?", ";", "."]


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("don't", ("do", "not")),
        ("dont", ("do", "not")),
        ("can't", ("can", "not")),
        ("wont", ("will", "not")),
        ("i'm", ("i", "am")),
        ("we're", ("we", "are")),
        ("ann's", ("ann",)),
        ("o'clock", ("oclock",)),
        ("plain", ("plain",)),
    ],
)
def test_a_contraction_is_its_words(word: str, words: tuple[str, ...]) -> None:
    assert expand(word) == words


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("run runs running", {"run"}),
        ("bake baked baker bakes", {"bak"}),
        ("study studies", {"study"}),
        ("glass", {"glas"}),
        ("bus", {"bus"}),
        ("is", {"is"}),
        ("c++", {"c++"}),
    ],
)
def test_forms_of_a_word_have_one_stem(words: str, expected: set[str]) -> None:
    assert {stem(word) for word in words.split()} == expected


@pytest.mark.parametrize(
    ("word", "expected"), [("camelCase", True), ("HashMap", True), ("Paris", False), ("NASA", False)]
)
def test_case_gives_names_of_programs_away(word: str, *, expected: bool) -> None:
    assert is_identifier(word) is expected


@given(st.text(max_size=200))
def test_any_text_has_tokens_that_are_in_it(text: str) -> None:
    found = [token for token in tokens(text) if "." not in text]

    assert all(isinstance(token, Token) and token.text in text for token in found)


@pytest.mark.parametrize("run", ["a", "_", "a_", "a.", "a->", "-", "東", "A."])
def test_a_long_run_is_read_once_and_not_again_from_every_place(run: str) -> None:
    # Read again from every place this takes minutes, and the suite's time is up.
    text = run * 50_000

    assert sum(len(token.text) for token in tokens(text)) <= len(text)
