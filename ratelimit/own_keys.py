"""Reads the keys of a `rate_limit` that the reference does not know.

    LimitSpec.own ──▶ limits (one, or a list), modes          every problem is told, with its line

1. A window is `window` (any length), `unit` with `unit_multiplier`, or `calendar` with `timezone`: one of them.
2. A window of exactly a unit's length is that unit, and counts as the reference does; a month is not, since
   USE_CALENDAR_MONTH_RATE_LIMIT may have changed what a month is.
3. What is refused here is refused with the whole set: a rule that says what cannot be done never counts as less.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from math import isfinite
from typing import TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ratelimit.draw import HITS_MAX, Algorithm
from ratelimit.limits import Limit, Unit, Windowing
from ratelimit.modes import TEMPLATE_WORDS, Denied, Lease, Modes, OnStoreError, Reserve, Soft
from ratelimit.specs import JsonValue, LimitSpec, Own, Where
from ratelimit.windows import CALENDAR_UNITS, Calendar, Every
from serving.settings import seconds

Blame = Callable[[Where, str], None]

# Longer windows than a leap year serve nobody, and their counters would live as long.
WINDOW_SECONDS_MAX = 366 * 86_400
LIMITS_MAX = 16
HEADERS_MAX = 32
TEXT_CHARACTERS_MAX = 4_096

_LIMIT_KEYS = {"algorithm", "amount", "burst", "calendar", "ceiling", "timezone", "unit_multiplier", "window"}
_BODIES = {
    "openai": '{"error":{"message":"Rate limit reached: {limit} per {span}. Try again in {reset} s.",'
    '"type":"rate_limit_error","param":null,"code":"rate_limit_exceeded"}}',
    "anthropic": '{"type":"error","error":{"type":"rate_limit_error",'
    '"message":"Rate limit reached: {limit} per {span}. Try again in {reset} s."}}',
}

_T = TypeVar("_T")


class _Refused(Exception):  # noqa: N818 - what became of the value
    """The value cannot be used; the text says what would."""


def read(spec: LimitSpec, blame: Blame) -> tuple[tuple[Limit, ...], Modes]:
    """Return the limits of a rule, none if they cannot be read, and its modes."""
    reader = _Reader(spec.own, blame)
    return reader.limits(spec), reader.modes()


class _Reader:
    """Reads one map of keys."""

    def __init__(self, own: Mapping[str, Own], blame: Blame) -> None:
        self._own = own
        self._blame = blame

    # -- limits --------------------------------------------------------------------------------

    def limits(self, spec: LimitSpec) -> tuple[Limit, ...]:
        if "limits" not in self._own:
            limit = self._limit(spec)
            return () if limit is None else (limit,)
        if spec.unit or spec.requests_per_unit or _LIMIT_KEYS & self._own.keys():
            self._blame(self._own["limits"].where, "limits: give amounts and windows inside it, not beside it")
        found = [limit for one in self._items() if (limit := self._item(spec, one)) is not None]
        if len({_counter(limit) for limit in found}) < len(found):
            self._blame(self._own["limits"].where, "limits: two of them have the same window and algorithm")
        return tuple(found)

    def _items(self) -> Sequence[JsonValue]:
        own = self._own["limits"]
        if not isinstance(own.value, list) or not 1 <= len(own.value) <= LIMITS_MAX:
            self._blame(own.where, f"limits: a list of 1 to {LIMITS_MAX} limits is wanted")
            return []
        return own.value

    def _item(self, spec: LimitSpec, item: JsonValue) -> Limit | None:
        where = self._own["limits"].where
        if not isinstance(item, Mapping):
            self._blame(where, "limits: each is a map, such as {amount: 1000, window: 1m}")
            return None
        known = _LIMIT_KEYS | {"unit", "requests_per_unit", "name"}
        for key in item.keys() - known:
            self._blame(where, f"limits: unknown key '{key}'")
        inner = _Reader({key: Own(where, value) for key, value in item.items() if key in _LIMIT_KEYS}, self._blame)
        unit, requests, name = item.get("unit", ""), item.get("requests_per_unit", 0), item.get("name", spec.name)
        if not isinstance(requests, int) or isinstance(requests, bool) or not 0 <= requests <= HITS_MAX:
            self._blame(where, f"limits: requests_per_unit: an integer from 0 to {HITS_MAX} is wanted")
            requests = 0
        return inner._limit(replace(spec, where=where, unit=str(unit), requests_per_unit=requests, name=str(name)))

    def _limit(self, spec: LimitSpec) -> Limit | None:
        amount = self._read("amount", _amount, spec.requests_per_unit)
        if "amount" in self._own and spec.requests_per_unit:
            self._blame(self._own["amount"].where, "amount: give it or requests_per_unit, not both")
        algorithm = self._read("algorithm", _algorithm, Algorithm.FIXED_WINDOW)
        burst = self._read("burst", _positive, 0)
        if burst and algorithm is not Algorithm.TOKEN_BUCKET:
            self._blame(self._own["burst"].where, "burst: only a token_bucket has one")
        ceiling = self._read("ceiling", _positive, 0)
        if 0 < ceiling < amount:
            self._blame(self._own["ceiling"].where, f"ceiling: {ceiling} is below the amount, {amount}")
        windowing = self._windowing(spec)
        if windowing is None:
            return None
        if isinstance(windowing, Calendar) and algorithm is not Algorithm.FIXED_WINDOW:
            self._blame(
                self._own["calendar"].where, "calendar: its windows differ in length, so only fixed_window has them"
            )
        unit = _unit_of(windowing)
        if unit is not None and algorithm is Algorithm.FIXED_WINDOW:
            return Limit(amount, unit, spec.name, ceiling=ceiling)
        if isinstance(windowing, Unit):
            windowing = Every(windowing.seconds)
        return Limit(amount, unit, spec.name, windowing, algorithm, burst, ceiling)

    def _windowing(self, spec: LimitSpec) -> Windowing | Unit | None:  # noqa: PLR0911 - one for each way to say it
        given = [key for key in ("window", "calendar") if key in self._own]
        if spec.unit:
            given.append("unit")
        if len(given) > 1:
            self._blame(spec.where, f"give one of {', '.join(given)}")
            return None
        unit = Unit.__members__.get(spec.unit.upper())
        if spec.unit and unit is None:
            self._blame(spec.where, f"invalid rate limit unit '{spec.unit}'")
            return None
        for key, owner in (("unit_multiplier", "unit"), ("timezone", "calendar")):
            if key in self._own and owner not in given:
                self._blame(self._own[key].where, f"{key}: it goes with {owner}")
        if "window" in self._own:
            return self._read("window", _window, None)
        if "calendar" in self._own:
            chosen = self._read("calendar", _calendar_unit, None)
            zone = self._read("timezone", _zone, "UTC")
            return None if chosen is None else Calendar(chosen, zone)
        if unit is None:
            self._blame(spec.where, "a limit needs one of unit, window and calendar")
            return None
        multiplier = self._read("unit_multiplier", _positive, 1)
        if unit.seconds * multiplier > WINDOW_SECONDS_MAX:
            self._blame(spec.where, f"unit_multiplier: the window is longer than {WINDOW_SECONDS_MAX} s")
            return None
        return unit if multiplier == 1 else Every(unit.seconds * multiplier)

    # -- modes ---------------------------------------------------------------------------------

    def modes(self) -> Modes:
        algorithms = self._algorithms()
        is_kept = self._read("on_deny", _choice("burn", "keep"), "keep" if algorithms - {"fixed_window"} else "burn")
        if is_kept == "burn" and "token_bucket" in algorithms:
            self._blame(self._own["on_deny"].where, "on_deny: a token_bucket keeps; burnt hits would never leave it")
        lease = self._read("lease", _lease, None)
        if lease is not None:
            if self._own.keys() & {"reserve", "idempotent"}:
                self._blame(self._own["lease"].where, "lease: a rule that leases neither reserves nor remembers ids")
            if "on_deny" not in self._own:
                is_kept = "keep"
            elif is_kept == "burn":
                self._blame(
                    self._own["on_deny"].where, "on_deny: a rule that leases keeps; it is refused out of a block"
                )
        mode, share = self._read("on_store_error", _on_store_error, (OnStoreError.ERROR, 0.0))
        return Modes(
            is_kept=is_kept == "keep",
            is_exhausted=self._read("check", _choice("over", "exhausted"), "over") == "exhausted",
            reserve=self._read("reserve", _reserve, None),
            on_store_error=mode,
            local_share=share,
            remember_ms=self._read("idempotent", _milliseconds, 0),
            weights=self._read("weights", _weights, {}),
            denied=self._read("denied", _denied, None),
            soft=self._read("soft", _soft, None),
            lease=lease,
        )

    def _algorithms(self) -> set[str]:
        own = [self._own.get("algorithm"), self._own.get("limits")]
        values = [each.value for each in own if each is not None]
        items = [item for value in values for item in (value if isinstance(value, list) else [{"algorithm": value}])]
        return {str(item["algorithm"]) for item in items if isinstance(item, Mapping) and "algorithm" in item}

    def _read(self, key: str, understand: Callable[[JsonValue], _T], default: _T) -> _T:
        own = self._own.get(key)
        if own is None:
            return default
        try:
            return understand(own.value)
        except _Refused as refused:
            self._blame(own.where, f"{key}: {refused}")
            return default


def _counter(limit: Limit) -> tuple[object, ...]:
    return limit.unit, limit.windowing, limit.algorithm


def _unit_of(windowing: Windowing | Unit) -> Unit | None:
    if isinstance(windowing, Unit):
        return windowing
    if isinstance(windowing, Every):
        return next((unit for unit in Unit if unit.seconds == windowing.seconds and unit is not Unit.MONTH), None)
    return None


# -- values ------------------------------------------------------------------------------------


def _integer(value: JsonValue, least: int, most: int = HITS_MAX) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise _Refused(f"an integer from {least} to {most} is wanted")
    return value


def _amount(value: JsonValue) -> int:
    return _integer(value, 0)


def _positive(value: JsonValue) -> int:
    return _integer(value, 1)


def _number(value: JsonValue, most: float) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= most:
        raise _Refused(f"a number above 0, at most {most:g}, is wanted")
    return float(value)


def _share(value: JsonValue) -> float:
    return _number(value, 1.0)


def _milliseconds(value: JsonValue) -> int:
    try:
        span = seconds(value)
    except ValueError as error:
        raise _Refused(str(error)) from None
    if not isinstance(span, int | float) or isinstance(span, bool) or not 0 < span <= WINDOW_SECONDS_MAX:
        raise _Refused(f"a duration such as 30s, 5m or 1h is wanted, at most {WINDOW_SECONDS_MAX}s")
    return max(1, round(span * 1000))


def _window(value: JsonValue) -> Windowing | Unit | None:
    span_ms = _milliseconds(value)
    if span_ms % 1000:
        raise _Refused("whole seconds are wanted")
    return Every(span_ms // 1000)


def _choice(*words: str) -> Callable[[JsonValue], str]:
    def choose(value: JsonValue) -> str:
        if value not in words:
            raise _Refused(f"one of {', '.join(words)} is wanted")
        return str(value)

    return choose


def _algorithm(value: JsonValue) -> Algorithm:
    names = [each.value for each in Algorithm if each is not Algorithm.REFERENCE]
    return Algorithm(_choice(*names)(value))


def _calendar_unit(value: JsonValue) -> Unit | None:
    return Unit[_choice(*(unit.name.lower() for unit in CALENDAR_UNITS))(value).upper()]


def _zone(value: JsonValue) -> str:
    try:
        ZoneInfo(str(value))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise _Refused(f"'{value}' is no time zone of the IANA database") from None
    return str(value)


def _map(value: JsonValue, *keys: str) -> Mapping[str, JsonValue]:
    if not isinstance(value, Mapping):
        raise _Refused(f"a map with {', '.join(keys)} is wanted")
    strange = sorted(str(key) for key in value.keys() - set(keys))
    if strange:
        raise _Refused(f"unknown key '{strange[0]}'; known are {', '.join(keys)}")
    return value


def _reserve(value: JsonValue) -> Reserve | None:
    fields = _map(value, "ttl", "default", "max_fraction")
    known = Reserve()
    return Reserve(
        _milliseconds(fields["ttl"]) if "ttl" in fields else known.ttl_ms,
        _positive(fields["default"]) if "default" in fields else known.default,
        _share(fields["max_fraction"]) if "max_fraction" in fields else known.max_fraction,
    )


def _lease(value: JsonValue) -> Lease | None:
    fields = _map(value, "ttl", "max_fraction")
    known = Lease()
    return Lease(
        _milliseconds(fields["ttl"]) if "ttl" in fields else known.ttl_ms,
        _share(fields["max_fraction"]) if "max_fraction" in fields else known.max_fraction,
    )


def _on_store_error(value: JsonValue) -> tuple[OnStoreError, float]:
    if isinstance(value, Mapping):
        return OnStoreError.LOCAL, _share(_map(value, "local").get("local"))
    return OnStoreError(_choice("error", "open", "closed")(value)), 0.0


def _weights(value: JsonValue) -> Mapping[str, Fraction]:
    if not isinstance(value, Mapping):
        raise _Refused("a map from kinds of tokens to numbers is wanted")
    weights = {}
    for kind, weight in value.items():
        if not isinstance(weight, int | float) or isinstance(weight, bool) or not isfinite(weight) or weight < 0:
            raise _Refused(f"the weight of '{kind}' is no number from 0 on")
        # By its decimal spelling: 0.1 is a tenth, and not the double next to it.
        weights[str(kind)] = Fraction(str(weight))
    return weights


def _headers(value: JsonValue) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping) or len(value) > HEADERS_MAX:
        raise _Refused(f"headers: a map of at most {HEADERS_MAX} names to texts is wanted")
    pairs = tuple((str(name).lower(), _text(text)) for name, text in value.items())
    for name, text in pairs:
        if not name or not all(
            character.isascii() and (character.isalnum() or character in "-_") for character in name
        ):
            raise _Refused(f"headers: '{name}' is no name of a header")
        if any(ord(character) < 32 for character in text):
            raise _Refused(f"headers: the text of '{name}' has a control character")
    return pairs


def _text(value: JsonValue) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, Mapping | list) or value is None or len(text) > TEXT_CHARACTERS_MAX:
        raise _Refused(f"a text of at most {TEXT_CHARACTERS_MAX} characters is wanted")
    return text


def _denied(value: JsonValue) -> Denied | None:
    fields = _map(value, "headers", "body")
    body = _text(fields.get("body", ""))
    media_type = "application/json" if body in _BODIES or _is_json(body) else "text/plain"
    return Denied(_headers(fields.get("headers", {})), _BODIES.get(body, body), media_type if body else "")


def _is_json(template: str) -> bool:
    for word in TEMPLATE_WORDS:
        template = template.replace(word, "0")
    try:
        json.loads(template)
    except ValueError:
        return False
    return True


def _soft(value: JsonValue) -> Soft | None:
    fields = _map(value, "at", "headers")
    if "headers" not in fields:
        raise _Refused("headers: a soft limit needs some, or nobody hears of it")
    return Soft(_share(fields["at"]) if "at" in fields else 1.0, _headers(fields["headers"]))
