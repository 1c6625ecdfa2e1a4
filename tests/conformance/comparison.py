"""What is expected against what came, exactly and in both directions.

1. A field that is not listed must be unset; unset, 0, false, the empty text and the empty list
   are the same. An empty map is not: a message may be there without content.
2. Lists are compared in order, maps without.
3. Texts of the forms `window`, `window HOUR`, `<=5`, `1..3` and `~part` are patterns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tests.conformance.windows import SECONDS, left_seconds

_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")
_WINDOW = re.compile(rf"window(?: ({'|'.join(SECONDS)}))?")


def differences(expected: Any, actual: Any, now: float, *, path: str = "", unit: str = "") -> list[str]:
    """Say where `actual` is not as `expected`; `unit` is what a bare `window` means."""
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        inner = (expected.get("current_limit") or {}).get("unit", unit)
        keys = dict.fromkeys([*expected, *actual])
        pairs = [(f"{path}.{key}".lstrip("."), expected.get(key), actual.get(key)) for key in keys]
        return [text for at, one, other in pairs for text in differences(one, other, now, path=at, unit=inner)]
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        numbered = enumerate(zip(expected, actual, strict=True))
        return [
            text
            for number, (one, other) in numbered
            for text in differences(one, other, now, path=f"{path}[{number}]", unit=unit)
        ]
    if is_equal(expected, actual, now, unit):
        return []
    return [f"{path or 'answer'}: expected {_shown(expected)}, got {_shown(actual)}"]


def is_equal(expected: Any, actual: Any, now: float, unit: str = "") -> bool:
    """Compare two values that are not both maps or lists of one length."""
    if isinstance(expected, str) and expected:
        if found := _WINDOW.fullmatch(expected):
            return _is_window(found[1] or unit, actual, now)
        if found := _RANGE.fullmatch(expected):
            return int(found[1]) <= _number(actual) <= int(found[2])
        if re.fullmatch(r"<=\d+", expected):
            return _number(actual) <= int(expected[2:])
        if expected.startswith("~"):
            return expected[1:] in str(actual)
    one, other = _unset(expected), _unset(actual)
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def answer_differences(expected: Mapping[str, Any], actual: Mapping[str, Any], now: float) -> list[str]:
    """Compare the answer of a step: `any_of`, an `error`, or a whole answer."""
    if "any_of" in expected:
        tries = [answer_differences(one, actual, now) for one in expected["any_of"]]
        return [] if [] in tries else [" / ".join(tried) for tried in tries]
    if "error" in expected and "error" in actual:
        return _error_differences(expected["error"], actual["error"])
    return differences(expected, actual, now)


def listed_differences(expected: Mapping[str, Any], actual: Mapping[str, Any], now: float) -> list[str]:
    """Compare only what is listed at the top, as for HTTP."""
    if "any_of" in expected:
        tries = [listed_differences(one, actual, now) for one in expected["any_of"]]
        return [] if [] in tries else [" / ".join(tried) for tried in tries]
    lines = [line for line in expected.get("lines", ()) if line not in actual.get("lines", ())]
    others = {key: value for key, value in expected.items() if key != "lines"}
    return [f"no line '{line}'" for line in lines] + differences(others, {key: actual.get(key) for key in others}, now)


def overall_codes(codes: Sequence[str]) -> str:
    """Write a run of overall codes as `OKx19 OVER_LIMITx1`."""
    runs: list[tuple[str, int]] = []
    for code in codes:
        if runs and runs[-1][0] == code:
            runs[-1] = (code, runs[-1][1] + 1)
        else:
            runs.append((code, 1))
    return " ".join(f"{code}x{count}" for code, count in runs)


def _error_differences(expected: Mapping[str, Any], actual: Mapping[str, Any]) -> list[str]:
    found = []
    if expected.get("code", actual["code"]) != actual["code"]:
        found.append(f"error.code: expected {expected['code']}, got {actual['code']} ({actual['message']})")
    if expected.get("message", "") not in actual["message"]:
        found.append(f"error.message: expected '{expected['message']}' in '{actual['message']}'")
    return found


def _is_window(unit: str, actual: Any, now: float) -> bool:
    return abs(_number(actual) - left_seconds(unit, now)) <= 1


def _number(value: Any) -> float:
    """Read a number, also from a header or from `"123s"`; NaN where it is none."""
    if isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?s?", value):
        return float(value.rstrip("s"))
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return value or 0
    return float("nan")


def _unset(value: Any) -> Any:
    return None if value in (0, "", []) else value


def _shown(value: Any) -> str:
    return "nothing" if _unset(value) is None else repr(value)
