from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semcache.prompt import normalise


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("  what   is\tthis? ", "what is this?"),
        ("it’s “so”", 'it\'s "so"'),
        ("zero\u200bwidth", "zerowidth"),
        ("e\u0301", "é"),
        ("x²", "x²"),
        ("a\r\nb", "a\nb"),
        ("a \n\n\n\nb", "a\n\nb"),
        ("US us", "US us"),
        ("def f():\n    return  1", "def f():\n    return  1"),
        ("`a  b`", "`a  b`"),
        ("bell\x07", "bell"),
    ],
)
def test_texts_that_no_reader_tells_apart_have_one_spelling(written: str, normal: str) -> None:
    assert normalise(written) == normal


@given(st.text())
def test_doing_it_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@given(st.text(" ab`\"'?", max_size=20) | st.text(st.characters(codec="ascii"), max_size=40))
def test_a_plain_prompt_is_spelt_as_any_other(text: str) -> None:
    assert normalise(text) == normalise(f"\u200b{text}")
