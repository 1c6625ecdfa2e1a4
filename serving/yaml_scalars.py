"""What a YAML scalar means: YAML 1.1 as the reference's parser understands it.

    tag, text, plain ──▶ null | bool | int | float | text

1. A quoted scalar is text, and so is a scalar with a tag of its own (`!x`).
2. Booleans are the whole YAML 1.1 family: y, yes, true, on, n, no, false, off.
3. Integers have signs, underscores and the prefixes 0x, 0o, 0b; a leading zero is octal. What
   looks like an integer and is not (08), or needs more than 64 bits, is a float.
4. Dates are text, sexagesimal numbers too.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from typing import TypeAlias

Value: TypeAlias = bool | int | float | str | bytes | None

_PREFIX = "tag:yaml.org,2002:"
_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"], True),
    **dict.fromkeys(["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"], False),
    **dict.fromkeys(["", "~", "null", "Null", "NULL"]),
    **dict.fromkeys([".nan", ".NaN", ".NAN"], math.nan),
    **dict.fromkeys([".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"], math.inf),
    **dict.fromkeys(["-.inf", "-.Inf", "-.INF"], -math.inf),
}
_INTEGER = re.compile(r"([+-]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|([1-9][0-9]*|0))")
_BASES = (16, 2, 8, 10)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
# Sign, prefix and 64 binary digits; longer texts are no 64-bit integers, and Python refuses to read very long ones.
_INTEGER_TEXT_MAX = 67


class TagError(ValueError):
    """A scalar is not what its tag says."""


def resolve(tag: str | None, text: str, *, is_plain: bool) -> Value:
    """Return the value of a scalar; bytes only for `!!binary`.

    Raises:
        TagError: it is not what its tag says.
    """
    if tag is None:
        return _plain(text) if is_plain else text
    short = tag.removeprefix(_PREFIX)
    if tag == short or short not in _TAGS:
        return text
    return _tagged(short, text)


def kind(value: Value) -> str:
    """Name the type of a value as YAML does."""
    if isinstance(value, bytes):
        return "!!binary"
    if value is None:
        return "!!null"
    # bool before int: in Python a bool is an int.
    return next(name for type_, name in _KINDS.items() if isinstance(value, type_))


def key_text(value: Value) -> str:
    """Write a map key that is no text as text, as the reference does (`y: 1` becomes `true`)."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return str(value).lower()
        case bytes():
            return value.decode(errors="replace")
        case float():
            short = f"{value:g}"
            return short if float(short) == value else str(value)
        case _:
            return str(value)


_KINDS: dict[type, str] = {bool: "!!bool", int: "!!int", float: "!!float", str: "!!str"}
_TAGS = {"str", "binary", "timestamp", "bool", "int", "float", "null"}


def _tagged(short: str, text: str) -> Value:
    match short:
        case "str" | "timestamp":
            return text
        case "binary":
            return _binary(text)
    value = _plain(text)
    if short == "float" and kind(value) == "!!int":
        return float(str(value))
    if kind(value) != f"!!{short}":
        raise TagError(f"cannot decode {kind(value)} `{text}` as a !!{short}")
    return value


def _binary(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise TagError("!!binary value contains invalid base64 data") from None


def _plain(text: str) -> Value:
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    digits = text if text[0] == "." else text.replace("_", "")
    integer = _integer(digits)
    if integer is not None:
        return integer
    if _FLOAT.fullmatch(digits) and math.isfinite(float(digits)):
        return float(digits)
    return text


def _integer(digits: str) -> int | None:
    found = _INTEGER.fullmatch(digits) if len(digits) <= _INTEGER_TEXT_MAX else None
    if found is None:
        return None
    sign, *groups = found.groups()
    value = next(int(group, base) for group, base in zip(groups, _BASES, strict=True) if group)
    if sign == "-":
        return -value if value <= 2**63 else None
    return value if value < (2**63 if sign else 2**64) else None
