from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semcache.verifier import pieces as module
from semcache.verifier.pieces import pieces, word_of
from semcache.verifier.reading import read
from semcache.verifier.words import tokens

# What a pattern that looks beyond a token's ends could mind, between blanks of every kind.
SNIPPETS = (
    *("the", "How", "I", "U.S.", "e.g.", "second", "3", "million", "one", "part", "II", "US", "don't", "camelCase"),
    *("`a b`", "`", "<", ">", "=>", "<=", "->", "a->b", "a.b", "f()", "-x", "--y", "/usr/bin", "~/a", "x_y", "_"),
    *("C++", "C#", "$20", "10%", "1,000", "12:30", "3rd", "5km", "http://x.y/z", "a@b.cc", "東京", "É", "İ", "ǅ"),
    *(".", "?", "!", "(", '"', ";", ":", "-", "\n", "\t", "\x1c", "\x85", "\u2028", "\u3000", " "),
)
TEXTS = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(SNIPPETS)).map("".join))


@given(TEXTS)
def test_a_text_in_chunks_has_the_tokens_of_the_whole(text: str) -> None:
    assert [(piece.text, piece.kind) for piece in pieces(text)] == [tuple(token) for token in tokens(text)]


@given(TEXTS)
def test_what_was_seen_is_read_as_what_was_not(text: str) -> None:
    module._chunks.clear()
    module._words.clear()
    first = read(text)

    assert read(text) == first


def test_no_more_is_remembered_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNKS_MAX", 3)
    monkeypatch.setattr(module, "_WORDS_MAX", 4)

    for number in range(20):
        read(f"take chunk{number} of {'b' * number}")
        assert (len(module._chunks) <= 3, len(module._words) <= 4) == (True, True)


def test_what_is_long_is_read_each_time() -> None:
    word = "a" * 33

    assert [piece.words[0].text for piece in pieces(word)] == [word]
    assert word not in module._chunks
    assert (word_of(word).text, word in module._words) == (word, False)


@pytest.mark.parametrize("text", ["i", "one", "second", "metres", "million", "seven", "US", "XI", "HashMap"])
def test_what_depends_on_the_word_before_is_not_plain(text: str) -> None:
    assert [piece.is_plain for piece in pieces(text)] == [False]
