from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import pytest

from ratelimit.draw import Algorithm
from ratelimit.limits import Limit, Unit
from ratelimit.modes import Denied, Lease, Modes, OnStoreError, Reserve, Soft
from ratelimit.own_keys import read
from ratelimit.specs import LimitSpec, Own, Where
from ratelimit.windows import Calendar, Every


def spec(own: Mapping[str, Any], **fields: Any) -> LimitSpec:
    lines = {key: Own(Where("rules.yaml", 10 + number), value) for number, (key, value) in enumerate(own.items())}
    return LimitSpec(Where("rules.yaml", 9), own=lines, **fields)


def understood(own: Mapping[str, Any], **fields: Any) -> tuple[tuple[Limit, ...], Modes]:
    problems: list[str] = []
    found = read(spec(own, **fields), lambda where, text: problems.append(f"{where.line}: {text}"))
    assert problems == []
    return found


def refused(own: Mapping[str, Any], **fields: Any) -> list[str]:
    problems: list[str] = []
    read(spec(own, **fields), lambda where, text: problems.append(f"{where.line}: {text}"))
    return problems


@pytest.mark.parametrize(
    ("own", "fields", "limit"),
    [
        ({"amount": 2**53 - 1}, {"unit": "day"}, Limit(2**53 - 1, Unit.DAY)),
        ({"amount": 5, "window": "30s"}, {}, Limit(5, None, "", Every(30))),
        ({"window": "5h"}, {"requests_per_unit": 7}, Limit(7, None, "", Every(18_000))),
        ({"amount": 5, "window": "1h"}, {}, Limit(5, Unit.HOUR)),
        ({"amount": 5, "window": "720h"}, {}, Limit(5, None, "", Every(2_592_000))),
        ({"amount": 5, "unit_multiplier": 3}, {"unit": "minute"}, Limit(5, None, "", Every(180))),
        ({"amount": 5, "unit_multiplier": 1}, {"unit": "minute"}, Limit(5, Unit.MINUTE)),
        ({"amount": 5, "calendar": "month"}, {"name": "n"}, Limit(5, None, "n", Calendar(Unit.MONTH))),
        (
            {"amount": 5, "calendar": "week", "timezone": "Asia/Tokyo"},
            {},
            Limit(5, None, "", Calendar(Unit.WEEK, "Asia/Tokyo")),
        ),
        (
            {"amount": 5, "algorithm": "sliding_window"},
            {"unit": "minute"},
            Limit(5, Unit.MINUTE, "", Every(60), Algorithm.SLIDING_WINDOW),
        ),
        (
            {"amount": 5, "window": "10s", "algorithm": "token_bucket", "burst": 9},
            {},
            Limit(5, None, "", Every(10), Algorithm.TOKEN_BUCKET, 9),
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_limit_is_an_amount_in_a_window(own: Mapping[str, Any], fields: Mapping[str, Any], limit: Limit) -> None:
    assert understood(own, **fields)[0] == (limit,)


def test_a_rule_may_have_several_limits() -> None:
    limits, modes = understood(
        {
            "limits": [
                {"amount": 9, "window": "1m", "algorithm": "sliding_window"},
                {"requests_per_unit": 5, "unit": "day"},
            ]
        }
    )

    assert limits == (Limit(9, Unit.MINUTE, "", Every(60), Algorithm.SLIDING_WINDOW), Limit(5, Unit.DAY))
    assert modes.is_kept


@pytest.mark.parametrize(
    ("own", "modes"),
    [
        ({}, Modes()),
        ({"on_deny": "keep"}, Modes(is_kept=True)),
        ({"check": "exhausted"}, Modes(is_exhausted=True)),
        ({"algorithm": "token_bucket"}, Modes(is_kept=True)),
        ({"algorithm": "sliding_window", "on_deny": "burn"}, Modes()),
        ({"reserve": {}}, Modes(reserve=Reserve(120_000, 1_000, 1.0))),
        ({"reserve": {"ttl": "30s", "default": 5, "max_fraction": 0.5}}, Modes(reserve=Reserve(30_000, 5, 0.5))),
        ({"on_store_error": "open"}, Modes(on_store_error=OnStoreError.OPEN)),
        ({"on_store_error": {"local": 0.25}}, Modes(on_store_error=OnStoreError.LOCAL, local_share=0.25)),
        ({"idempotent": "10m"}, Modes(remember_ms=600_000)),
        ({"idempotent": 90}, Modes(remember_ms=90_000)),
        ({"weights": {"input": 3, "cached": 0.1}}, Modes(weights={"input": Fraction(3), "cached": Fraction(1, 10)})),
        ({"denied": {"headers": {"X-Why": "budget"}}}, Modes(denied=Denied((("x-why", "budget"),)))),
        (
            {"denied": {"body": '{"left": {remaining}}'}},
            Modes(denied=Denied((), '{"left": {remaining}}', "application/json")),
        ),
        ({"denied": {"body": "{remaining} left"}}, Modes(denied=Denied((), "{remaining} left", "text/plain"))),
        ({"lease": {"ttl": "1s"}, "on_deny": "keep"}, Modes(is_kept=True, lease=Lease(1_000))),
        ({"soft": {"at": 0.8, "headers": {"x-soft": True}}}, Modes(soft=Soft(0.8, (("x-soft", "true"),)))),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_mode_is_read(own: Mapping[str, Any], modes: Modes) -> None:
    assert understood({"amount": 1, **own}, unit="day")[1] == modes


@pytest.mark.parametrize(
    ("own", "fields", "problem"),
    [
        ({"amount": -1}, {"unit": "day"}, "10: amount: an integer from 0 to 9007199254740991 is wanted"),
        ({"amount": 2**53}, {"unit": "day"}, "10: amount: an integer from 0 to 9007199254740991 is wanted"),
        ({"amount": 1}, {"unit": "day", "requests_per_unit": 1}, "10: amount: give it or requests_per_unit, not both"),
        ({"amount": 1}, {}, "9: a limit needs one of unit, window and calendar"),
        ({"amount": 1, "window": "1m"}, {"unit": "day"}, "9: give one of window, unit"),
        ({"amount": 1, "window": "1m", "calendar": "day"}, {}, "9: give one of window, calendar"),
        ({"window": "1500ms"}, {}, "10: window: whole seconds are wanted"),
        ({"window": "soon"}, {}, "10: window: not a duration such as 200ms, 10s or 1h30m: 'soon'"),
        ({"window": "9000h"}, {}, "10: window: a duration such as 30s, 5m or 1h is wanted, at most 31622400s"),
        (
            {"unit_multiplier": 0},
            {"unit": "day"},
            "10: unit_multiplier: an integer from 1 to 9007199254740991 is wanted",
        ),
        ({"unit_multiplier": 500}, {"unit": "day"}, "9: unit_multiplier: the window is longer than 31622400 s"),
        ({"window": "1m", "unit_multiplier": 2}, {}, "11: unit_multiplier: it goes with unit"),
        ({"timezone": "UTC"}, {"unit": "day"}, "10: timezone: it goes with calendar"),
        ({"calendar": "month", "timezone": "Mars"}, {}, "11: timezone: 'Mars' is no time zone of the IANA database"),
        ({"calendar": "hour"}, {}, "10: calendar: one of day, week, month, year is wanted"),
        (
            {"algorithm": "leaky"},
            {"unit": "day"},
            "10: algorithm: one of fixed_window, sliding_window, token_bucket is wanted",
        ),
        ({"burst": 5}, {"unit": "day"}, "10: burst: only a token_bucket has one"),
        (
            {"calendar": "month", "algorithm": "sliding_window"},
            {},
            "10: calendar: its windows differ in length, so only fixed_window has them",
        ),
        ({"on_deny": "keep_it"}, {"unit": "day"}, "10: on_deny: one of burn, keep is wanted"),
        (
            {"algorithm": "token_bucket", "on_deny": "burn"},
            {"unit": "day"},
            "11: on_deny: a token_bucket keeps; burnt hits would never leave it",
        ),
        ({"reserve": True}, {"unit": "day"}, "10: reserve: a map with ttl, default, max_fraction is wanted"),
        (
            {"reserve": {"tll": "1s"}},
            {"unit": "day"},
            "10: reserve: unknown key 'tll'; known are ttl, default, max_fraction",
        ),
        ({"reserve": {"max_fraction": 2}}, {"unit": "day"}, "10: reserve: a number above 0, at most 1, is wanted"),
        (
            {"on_store_error": {"local": 0}},
            {"unit": "day"},
            "10: on_store_error: a number above 0, at most 1, is wanted",
        ),
        ({"on_store_error": "ignore"}, {"unit": "day"}, "10: on_store_error: one of error, open, closed is wanted"),
        ({"weights": {"a": -1}}, {"unit": "day"}, "10: weights: the weight of 'a' is no number from 0 on"),
        ({"weights": 3}, {"unit": "day"}, "10: weights: a map from kinds of tokens to numbers is wanted"),
        (
            {"idempotent": "0s"},
            {"unit": "day"},
            "10: idempotent: a duration such as 30s, 5m or 1h is wanted, at most 31622400s",
        ),
        ({"denied": {"headers": {"a b": "c"}}}, {"unit": "day"}, "10: denied: headers: 'a b' is no name of a header"),
        (
            {"denied": {"headers": {"a": "c\r\nd: e"}}},
            {"unit": "day"},
            "10: denied: headers: the text of 'a' has a control character",
        ),
        ({"soft": {"at": 0.8}}, {"unit": "day"}, "10: soft: headers: a soft limit needs some, or nobody hears of it"),
        ({"limits": []}, {}, "10: limits: a list of 1 to 16 limits is wanted"),
        (
            {"limits": [{"amount": 1, "window": "1m"}]},
            {"unit": "day"},
            "10: limits: give amounts and windows inside it, not beside it",
        ),
        ({"limits": [{"amount": 1, "wimdow": "1m", "window": "1m"}]}, {}, "10: limits: unknown key 'wimdow'"),
        (
            {"limits": [{"amount": 1, "window": "1m"}, {"amount": 2, "unit": "minute"}]},
            {},
            "10: limits: two of them have the same window and algorithm",
        ),
        (
            {"limits": [{"requests_per_unit": -1, "unit": "day"}]},
            {},
            "10: limits: requests_per_unit: an integer from 0 to 9007199254740991 is wanted",
        ),
        ({"limits": [{"amount": 1, "unit": "fortnight"}]}, {}, "10: invalid rate limit unit 'fortnight'"),
        (
            {"lease": {}, "idempotent": "5s"},
            {"unit": "day"},
            "10: lease: a rule that leases neither reserves nor remembers ids",
        ),
        (
            {"lease": {}, "on_deny": "burn"},
            {"unit": "day"},
            "11: on_deny: a rule that leases keeps; it is refused out of a block",
        ),
        (
            {"denied": {"headers": ["a"]}},
            {"unit": "day"},
            "10: denied: headers: a map of at most 32 names to texts is wanted",
        ),
        (
            {"denied": {"headers": {"a": None}}},
            {"unit": "day"},
            "10: denied: a text of at most 4096 characters is wanted",
        ),
        ({"limits": [3]}, {}, "10: limits: each is a map, such as {amount: 1000, window: 1m}"),
    ],
    ids=lambda value: str(value)[:48],
)
def test_what_cannot_be_done_is_refused_with_its_line(
    own: Mapping[str, Any], fields: Mapping[str, Any], problem: str
) -> None:
    assert refused(own, **fields) == [problem]


def test_every_problem_of_a_rule_is_told() -> None:
    assert len(refused({"amount": -1, "window": "x", "check": "maybe", "reserve": 1})) == 4
