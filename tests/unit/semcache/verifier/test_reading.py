from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semcache.verifier.reading import Reading, read


def test_a_prompt_is_taken_apart() -> None:
    reading = read("Why didn't Ann pay $20 to Bob's bank in Paris?")

    assert reading.words == ("why", "did", "not", "ann", "pay", "20", "to", "bob", "bank", "in", "paris")
    assert reading.content == ("ann", "pay", "20", "bob", "bank", "paris")
    assert (reading.numbers, reading.units) == (("20",), frozenset({"usd"}))
    assert reading.names == {"ann", "bob", "paris"}
    assert reading.members == {"city:paris"}
    assert (reading.negations, reading.question) == (1, "why")


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("3 million people", "numbers", ("3000000",)),
        ("twenty people", "numbers", ("20",)),
        ("World War II", "numbers", ("2",)),
        ("the second act", "numbers", ("2",)),
        ("one per second", "numbers", ()),
        ("one per second", "units", frozenset({"second"})),
        ("part one", "numbers", ("1",)),
        ("part I", "numbers", ("1",)),
        ("one of them", "numbers", ()),
        ("is it true or not", "negations", 0),
        ("not only cats", "negations", 0),
        ("I never said no", "negations", 2),
        ("people used to smoke", "aspects", frozenset({"used to"})),
        ("salt is used to cook", "aspects", frozenset()),
        ("what has it become", "aspects", frozenset({"became"})),
        ("he met her", "genders", ("he", "she")),
        ("I ask you about them", "persons", frozenset({"I", "you", "they"})),
        ("how many cats", "question", "how many"),
        ("tell me", "question", ""),
        ("the United States army", "members", frozenset({"country:usa"})),
        ("join the US army", "members", frozenset({"country:usa"})),
        ("tell us more", "members", frozenset()),
        ("events in march", "members", frozenset({"month:inmarch"})),
        ("call HashMap or user_id", "identifiers", frozenset({"HashMap", "user_id"})),
        ("see group A", "names", frozenset({"a"})),
        ("This Is A Title", "names", frozenset({"title"})),
        ("I and I", "names", frozenset()),
    ],
)
def test_what_is_read_of_a_prompt(text: str, field: str, value: object) -> None:
    assert getattr(read(text), field) == value


@given(st.text(max_size=300))
def test_any_text_can_be_read(text: str) -> None:
    reading = read(text)

    assert isinstance(reading, Reading)
    assert len(reading.words) == len(reading.stems)
