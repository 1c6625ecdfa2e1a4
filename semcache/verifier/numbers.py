"""The value of a number as it is written: 10k, 10,000 and 1e4 hits are one, 3.10 and 3.1 are not."""

import re

from semcache.verifier.lexicon import MULTIPLIERS, UNITS

_PARTS = re.compile(r"(?P<sign>[$€£¥₹]?)(?P<digits>\d+(?:,\d{2,3})*(?:[.:/]\d+)*)(?P<tail>.*)")
_ORDINALS = ("st", "nd", "rd", "th")
# Between a number and what it is reckoned with; a minus without blanks is a hyphen more often ("5-star").
_OPERATION = re.compile(r"(?<=[\d)])\s?([+*/^%×÷\u2212])\s?(?=[\w(])|(?<=[\w)])\s([-+*/^%×÷\u2212])\s(?=\d)")


def operations(text: str) -> frozenset[str]:
    """Return the signs of what is done with numbers: `3x + 2`, `7 % 2`."""
    return frozenset(first or second for first, second in _OPERATION.findall(text))


def read_number(text: str) -> tuple[str, str | None, str]:
    """Return (canonical value, unit or None, the word it is among the others).

    A tail that is neither a unit, an ordinal nor a multiplier belongs to the
    number: 6s, 90s and 3d are names of their own. Digits after a point are kept
    as they are, since 3.10 is a version.
    """
    match = _PARTS.fullmatch(text)
    if match is None:
        return text, None, text
    digits = match["digits"].replace(",", "")
    digits = digits.lstrip("0") or "0" if digits.isdigit() else digits
    tail = match["tail"].lower()
    unit = UNITS.get(match["sign"]) if match["sign"] else None
    if tail in MULTIPLIERS and digits.isdigit():
        digits += "0" * MULTIPLIERS[tail]
    elif tail in UNITS:
        unit = UNITS[tail]
    elif tail and tail not in _ORDINALS:
        digits += tail
    return digits, unit, digits
