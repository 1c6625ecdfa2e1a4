"""Fingerprints must never change: entries stored by other versions are found by them."""

from __future__ import annotations

import json
import uuid
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semcache.scope import Json, Scope, canonical_json, entry_id

FULL = Scope(
    namespace="support",
    tenant="acme",
    user="u-1",
    api_schema="openai.chat",
    model="gpt-4o",
    system_prompt="You help.",
    history=[{"role": "user", "content": "hi"}],
    tools=[{"name": "search", "parameters": {"type": "object"}}],
    response_format={"type": "json_object"},
    sampling={"temperature": 0},
    region="eu",
    extra={"app": "web"},
)

GOLDEN = {
    "nothing": (None, "null"),
    "key order": ({"b": 1, "a": 2}, '{"a":2,"b":1}'),
    "keys by code point": ({"é": 1, "z": 2, "Z": 3, "10": 4, "9": 5}, '{"10":4,"9":5,"Z":3,"z":2,"é":1}'),
    "whole floats": ([1.0, 0.5, -0.0, 1e3, -2.0], "[1,0.5,0,1000,-2]"),
    "far floats": ([1e22, 1.5e-7, 0.1], "[1e+22,1.5e-07,0.1]"),
    "the largest exact": ([2.0**53, 2.0**54], "[9007199254740992,1.8014398509481984e+16]"),
    "whole numbers": ([0, -1, 2**70], "[0,-1,1180591620717411303424]"),
    "truth is no number": ([True, False, 1, 0], "[true,false,1,0]"),
    "text": ('a"\\\n\u2028/é日🙂', '"a\\"\\\\\\n\u2028/é日🙂"'),
    "control characters": ("\x00\x1f\x7f", '"\\u0000\\u001f\x7f"'),
    "nesting": ({"a": [{"b": ()}, {}]}, '{"a":[{"b":[]},{}]}'),
}


@pytest.mark.parametrize(("value", "text"), GOLDEN.values(), ids=GOLDEN.keys())
def test_canonical_json_is_spelt_so(value: Json, text: str) -> None:
    assert canonical_json(value) == text


def nested(depth: int) -> Json:
    value: Json = 1
    for _ in range(depth):
        value = [value]
    return value


NOT_JSON = {
    "not a number": float("nan"),
    "infinity": [float("inf")],
    "bytes": {"a": b"x"},
    "a set": {1, 2},
    "a key that is no text": {1: 2},
    "half a surrogate pair": "\ud800",
    "half a surrogate pair in a key": {"\udfff": 1},
    "too deep": nested(65),
}


@pytest.mark.parametrize("value", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_what_is_no_json_is_refused(value: Json) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each has words of its own
        canonical_json(value)


def test_depth_has_a_bound_that_is_allowed() -> None:
    assert canonical_json(nested(64)).startswith("[" * 64)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_canonical_json_means_the_value_and_reading_it_changes_nothing(value: Json) -> None:
    text = canonical_json(value)

    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text


@given(st.dictionaries(st.text(), st.integers(), max_size=6), st.randoms())
def test_the_order_of_keys_does_not_matter(value: dict[str, int], random: object) -> None:
    keys = list(value)
    random.shuffle(keys)  # type: ignore[attr-defined]

    assert canonical_json({key: value[key] for key in keys}) == canonical_json(value)


def test_fingerprints_stay_what_they_are() -> None:
    assert [Scope("support").id, FULL.id] == [
        "1b578d463b349032381e88e4f69cd5ad",
        "5c4bc815fff93cbf9d538c9c512227c8",
    ]


def test_entry_ids_stay_what_they_are() -> None:
    first = entry_id(FULL.id, "How do I reset my password?")

    assert first == "6240c92b-8b13-50f9-89a2-0c466ad9c66c"
    assert (str(uuid.UUID(first)), uuid.UUID(first).version) == (first, 5)


OTHER = {
    "namespace": "sales",
    "tenant": "globex",
    "user": "u-2",
    "api_schema": "anthropic.messages",
    "model": "gpt-4o-mini",
    "system_prompt": "You help!",
    "history": [{"role": "user", "content": "hello"}],
    "tools": [{"name": "search", "parameters": {"type": "array"}}],
    "response_format": {"type": "text"},
    "sampling": {"temperature": 1},
    "region": "us",
    "extra": {"app": "mobile"},
}


def test_every_field_has_another_value_here() -> None:
    assert OTHER.keys() == {field.name for field in fields(Scope)}


@pytest.mark.parametrize("field", OTHER)
def test_any_single_field_that_differs_is_another_scope(field: str) -> None:
    assert replace(FULL, **{field: OTHER[field]}).id != FULL.id


OPTIONAL = sorted(OTHER.keys() - {"namespace", "extra"})


@pytest.mark.parametrize("field", OPTIONAL)
def test_absent_is_not_empty(field: str) -> None:
    assert replace(FULL, **{field: None}).id != replace(FULL, **{field: ""}).id


@given(st.lists(st.sampled_from(OPTIONAL), min_size=2, max_size=2, unique=True), st.text(min_size=1))
def test_a_value_in_one_field_is_not_the_value_in_another(names: list[str], value: str) -> None:
    bare = Scope("support")

    assert replace(bare, **{names[0]: value}).id != replace(bare, **{names[1]: value}).id


@given(st.text(), st.text(), st.text())
def test_fields_are_not_joined(one: str, two: str, three: str) -> None:
    left, right = Scope(one, tenant=two + three), Scope(one + two, tenant=three)

    assert (left.id == right.id) is (two == "")


@given(st.text(), st.text())
def test_prompts_and_scopes_make_ids_of_their_own(one: str, two: str) -> None:
    ids = {entry_id(scope, prompt) for scope in (FULL.id, Scope("n").id) for prompt in (one, two)}

    assert len(ids) == 2 * len({one, two})
