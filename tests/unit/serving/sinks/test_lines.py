from __future__ import annotations

import re

import pytest

from serving.settings import SettingsError
from serving.sinks.lines import DogStatsd, Statsd
from serving.sinks.mogrifiers import Mogrifier, read_mogrifiers

RULE = Mogrifier(re.compile(r"rate_limit\.([^.]+)\.([^.]+)\.(\w+)$"), "rl.$3", (("domain", "$1"), ("descriptor", "$2")))


def test_statsd_has_tags_at_the_end_of_the_name() -> None:
    line = Statsd({"zone": "a", "env": "x"}).line("calls", (("method", "M"),), 3, "c")

    assert line == "calls.__env=x.__method=M.__zone=a:3|c"


def test_dogstatsd_has_tags_behind() -> None:
    assert DogStatsd({"zone": "a"}, ()).line("calls", (("method", "M"),), 3, "c") == "calls:3|c|#method:M,zone:a"


def test_without_tags_nothing_stands_behind() -> None:
    assert DogStatsd({}, ()).line("calls", (), 0.5, "g") == "calls:0.5|g"


@pytest.mark.parametrize(
    ("name", "fitted"),
    [("a:b|c", "a_b_c"), ("ip_10.0.0.1.hits", "ip_10_0_0_1.hits"), ("a\nforged:1|c", "a_forged_1_c")],
    ids=["dividers", "IPv4", "line end"],
)
def test_a_name_holds_nothing_that_divides_a_line(name: str, fitted: str) -> None:
    assert Statsd({}).line(name, (), 1, "c") == f"{fitted}:1|c"


def test_a_tag_holds_nothing_that_divides_tags() -> None:
    assert DogStatsd({}, ()).line("n", (("k", "a,b|c#d"),), 1, "c") == "n:1|c|#k:a_b_c_d"


def test_a_mogrifier_makes_parts_of_a_name_tags() -> None:
    line = DogStatsd({"zone": "a"}, [RULE]).line("ratelimit.service.rate_limit.llm.user.over_limit", (), 2, "c")

    assert line == "rl.over_limit:2|c|#descriptor:user,domain:llm,zone:a"


def test_the_first_mogrifier_that_fits_is_used() -> None:
    other = Mogrifier(re.compile("."), "other", ())

    assert DogStatsd({}, [RULE, other]).line("unfit", (), 1, "c") == "other:1|c"
    assert DogStatsd({}, [RULE]).line("unfit", (), 1, "c") == "unfit:1|c"


def test_a_group_that_took_no_part_is_empty() -> None:
    rule = Mogrifier(re.compile("(a)|(b)"), "x$1$2", ())

    assert rule.rewrite("b") == ("xb", {})


def set_up(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"DOG_STATSD_MOGRIFIER_{name}", value)


def test_mogrifiers_are_read_in_the_order_they_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(monkeypatch, B_PATTERN="b(.)", B_NAME="$1", B_TAGS="t:$1", A_PATTERN="a", A_NAME="y")

    first, second = read_mogrifiers(" b , A,")

    assert (first, second) == (Mogrifier(re.compile("b(.)"), "$1", (("t", "$1"),)), Mogrifier(re.compile("a"), "y", ()))


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({}, "DOG_STATSD_MOGRIFIER_M_PATTERN: is empty"),
        ({"M_PATTERN": "a"}, "DOG_STATSD_MOGRIFIER_M_NAME: is empty"),
        ({"M_PATTERN": "(", "M_NAME": "x"}, "DOG_STATSD_MOGRIFIER_M_PATTERN: missing ), unterminated subpattern"),
        ({"M_PATTERN": "a", "M_NAME": "$1"}, "DOG_STATSD_MOGRIFIER_M_PATTERN: has no group $1"),
        ({"M_PATTERN": "a", "M_NAME": "x", "M_TAGS": "t:"}, "DOG_STATSD_MOGRIFIER_M_TAGS: a key or a value is empty"),
    ],
    ids=["no pattern", "no name", "bad pattern", "no such group", "empty tag"],
)
def test_a_mogrifier_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], problem: str
) -> None:
    set_up(monkeypatch, **variables)

    with pytest.raises(SettingsError) as raised:
        read_mogrifiers("M")

    assert str(raised.value).startswith(problem)
