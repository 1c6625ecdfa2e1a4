from __future__ import annotations

import math

import pytest

from serving.yaml_scalars import TagError, Value, key_text, kind, resolve

TEXT_MAX = 10_000


PLAIN: dict[str, Value] = {
    "": None,
    "~": None,
    "NULL": None,
    "y": True,
    "On": True,
    "TRUE": True,
    "no": False,
    "OFF": False,
    "yEs": "yEs",
    "text": "text",
    "tea": "tea",
    "<<": "<<",
    "0": 0,
    "5": 5,
    "+5": 5,
    "-5": -5,
    "0x1F": 31,
    "-0X1f": -31,
    "0b101": 5,
    "010": 8,
    "0o17": 15,
    "1_000": 1_000,
    "08": 8.0,
    "1.5": 1.5,
    ".5": 0.5,
    "-.5": -0.5,
    "1e3": 1_000.0,
    "._5": "._5",
    ".": ".",
    "1.2.3": "1.2.3",
    "1:30": "1:30",
    "2020-01-01": "2020-01-01",
    "9223372036854775808": 2**63,
    "-9223372036854775808": -(2**63),
    "-9223372036854775809": -9.223372036854775808e18,
    "+9223372036854775808": 9.223372036854775808e18,
    "18446744073709551616": 18446744073709551616.0,
    "0x10000000000000000": "0x10000000000000000",
    "1e999": "1e999",
    ".inf": math.inf,
    "-.Inf": -math.inf,
    "1" * TEXT_MAX: "1" * TEXT_MAX,
}


@pytest.mark.parametrize(("text", "value"), PLAIN.items(), ids=lambda item: repr(item)[:30])
def test_a_plain_scalar_is_read_as_the_reference_reads_it(text: str, value: Value) -> None:
    found = resolve(None, text, is_plain=True)

    assert (type(found), found) == (type(value), value)


def test_not_a_number_is_a_float() -> None:
    assert kind(resolve(None, ".nan", is_plain=True)) == "!!float"


TAGGED: dict[tuple[str | None, str], Value] = {
    (None, "5"): "5",
    ("!", "5"): "5",
    ("!mine", "5"): "5",
    ("tag:yaml.org,2002:mine", "5"): "5",
    ("tag:yaml.org,2002:str", "5"): "5",
    ("tag:yaml.org,2002:timestamp", "2020-01-01"): "2020-01-01",
    ("tag:yaml.org,2002:int", "5"): 5,
    ("tag:yaml.org,2002:float", "5"): 5.0,
    ("tag:yaml.org,2002:float", "5.5"): 5.5,
    ("tag:yaml.org,2002:bool", "y"): True,
    ("tag:yaml.org,2002:null", ""): None,
    ("tag:yaml.org,2002:binary", "aGk=\n"): b"hi",
}


@pytest.mark.parametrize(("tag", "text", "value"), [(*key, value) for key, value in TAGGED.items()])
def test_a_tag_or_quotes_say_what_a_scalar_is(tag: str | None, text: str, value: Value) -> None:
    found = resolve(tag, text, is_plain=False)

    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    ("tag", "text", "message"),
    [
        ("int", "x", "cannot decode !!str `x` as a !!int"),
        ("bool", "5", "cannot decode !!int `5` as a !!bool"),
        ("float", "x", "cannot decode !!str `x` as a !!float"),
        ("null", "5", "cannot decode !!int `5` as a !!null"),
        ("binary", "é", "!!binary value contains invalid base64 data"),
        ("binary", "abc", "!!binary value contains invalid base64 data"),
    ],
)
def test_a_tag_that_lies_is_refused(tag: str, text: str, message: str) -> None:
    with pytest.raises(TagError) as error:
        resolve(f"tag:yaml.org,2002:{tag}", text, is_plain=False)

    assert str(error.value) == message


@pytest.mark.parametrize(
    ("value", "name"),
    [(None, "!!null"), (True, "!!bool"), (1, "!!int"), (1.5, "!!float"), ("x", "!!str"), (b"x", "!!binary")],
)
def test_kinds_have_the_names_of_yaml(value: Value, name: str) -> None:
    assert kind(value) == name


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "<nil>"),
        (True, "true"),
        (False, "false"),
        (5, "5"),
        (0.25, "0.25"),
        (1.0, "1"),
        (1e6, "1e+06"),
        (1.23456789, "1.23456789"),
        ("x", "x"),
        (b"x", "x"),
    ],
)
def test_a_key_that_is_no_text_is_written_as_the_reference_writes_it(value: Value, text: str) -> None:
    assert key_text(value) == text
