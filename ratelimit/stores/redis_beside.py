"""Where in Redis stands what is beside a counter: holds, remembered ids. It must be in the counter's slot.

    stem of our own   {…}…            has a hash tag: `<stem>:h3` is in its slot
    whole key         domain_k_v_17   becomes the tag: `{domain_k_v_17}:h3`
                      domain_k_{v}_17 has a tag by chance, as a stem has
                      domain_k_{}_17 has none, and cannot become one: `{JIEB@}domain_k_{}_17:h3`, by a tag in its slot

A slot is a CRC that begins at 0, so it is linear: two texts of one length that differ in some bits have slots that differ by
what these bits make of nothing. So a text in a slot is solved for, and not looked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from ratelimit.draw import Algorithm, Draw
from serving.redis import slot_of

# Of a fixed window, the window's start.
_SUFFIXES = {Algorithm.SLIDING_WINDOW: ":s", Algorithm.TOKEN_BUCKET: ":b", Algorithm.REFERENCE: ""}

# Letters of a tag: from `@` on, each has four bits that are free, and none is a brace.
_LETTERS, _BITS, _FIRST = 5, 4, ord("@")


def beside(draw: Draw) -> str:
    """Return what the names of all that is beside a counter begin with, as `admit.lua` has it."""
    stem = draw.stem
    if draw.terms.algorithm is not Algorithm.REFERENCE or _has_tag(stem):
        return stem
    return f"{tag_of(draw)}{stem}" if "}" in stem else f"{{{stem}}}"


def keys_of(draw: Draw) -> Iterator[str]:
    """Yield the keys that a draw is about, whether they are there or not: its counter, and what may be beside it.

    A cluster asks for them where a slot is on its way to another node. What has gone already is asked for there, and a
    counter of which a part has gone is nowhere until all of it has: it must be counted by no half.
    """
    terms = draw.terms
    yield f"{draw.stem}{_SUFFIXES.get(terms.algorithm, f':{draw.start}')}"
    if terms.hold_ms:
        yield f"{beside(draw)}:h3"
        yield f"{beside(draw)}:d3"
    if terms.remember_ms:
        yield f"{beside(draw)}:r"


def tag_of(draw: Draw) -> str:
    """Return the tag that is to stand before a counter's key; empty where `admit.lua` knows the name by itself."""
    stem = draw.stem
    if "}" not in stem or draw.terms.algorithm is not Algorithm.REFERENCE or _has_tag(stem):
        return ""
    return f"{{{text_in(slot_of(stem))}}}"


def text_in(slot: int) -> str:
    """Return a text that is in a slot, and has no brace."""
    wanted, bits = slot ^ slot_of(_text(0)), 0
    for difference, its_bits in _differences():
        if wanted ^ difference < wanted:
            wanted ^= difference
            bits ^= its_bits
    return _text(bits)


def _has_tag(key: str) -> bool:
    _, _, rest = key.partition("{")
    return rest.find("}") > 0


def _text(bits: int) -> str:
    return "".join(chr(_FIRST + (bits >> _BITS * letter) % 2**_BITS) for letter in range(_LETTERS))


@cache
def _differences() -> list[tuple[int, int]]:
    """Return differences of slots and the bits that make them, the greatest first; no two begin with the same bit."""
    found: list[tuple[int, int]] = []
    for bit in range(_LETTERS * _BITS):
        difference, bits = slot_of(_text(1 << bit)) ^ slot_of(_text(0)), 1 << bit
        for known, its_bits in found:
            if difference ^ known < difference:
                difference ^= known
                bits ^= its_bits
        if difference:
            found = sorted([*found, (difference, bits)], reverse=True)
    return found
