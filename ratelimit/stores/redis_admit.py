"""Admissions as calls of `admit.lua`, and its answers as standings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha1
from itertools import groupby
from pathlib import Path
from struct import pack

from ratelimit.draw import Algorithm, Draw, Standing, Standings, Terms
from ratelimit.errors import StoreError, StoreRefused, StoreTimeout
from ratelimit.store import Admission, AdmissionOutcome
from ratelimit.stores.redis_beside import keys_of, tag_of
from ratelimit.stores.redis_errors import error_of
from ratelimit.stores.shares import Place, worst
from serving.redis_link import Reply
from serving.redis_node import Command, Script

_BODY = (Path(__file__).parent.parent / "redis_scripts" / "admit.lua").read_text(encoding="utf-8")
ADMIT = Script(sha1(_BODY.encode(), usedforsecurity=False).hexdigest(), _BODY)

_LETTERS = {
    Algorithm.FIXED_WINDOW: "f",
    Algorithm.SLIDING_WINDOW: "s",
    Algorithm.TOKEN_BUCKET: "b",
    Algorithm.REFERENCE: "r",
}
# A name of this module and no member of a set: an enum is hashed in Python, for every draw of every call.
_REFERENCE = Algorithm.REFERENCE
_SPANS = StoreRefused("all or nothing over several slots or servers is not possible: see hash_tag")


@dataclass(slots=True)
class AdmissionShare:
    """What one place has of one admission."""

    origin: int
    """Position of the admission in the batch."""
    admission: Admission
    positions: Sequence[int] = ()
    """Where its draws stand in the whole; nothing is said where it is the whole."""
    outcome: AdmissionOutcome = ()


def deal(
    origin: int, admission: Admission, place_of: Callable[[Draw], Place]
) -> dict[Place, AdmissionShare] | StoreError:
    """Deal one admission out to the places of its counters; one that is kept cannot be parted."""
    positions: dict[Place, list[int]] = {}
    for position, draw in enumerate(admission.draws):
        positions.setdefault(place_of(draw), []).append(position)
    if len(positions) == 1:
        return dict.fromkeys(positions, AdmissionShare(origin, admission))
    if admission.is_kept:
        return _SPANS
    return {
        place: AdmissionShare(
            origin, Admission([admission.draws[position] for position in mine], admission.deadline), mine
        )
        for place, mine in positions.items()
    }


def gather(admission: Admission, shares: Sequence[AdmissionShare]) -> AdmissionOutcome:
    """Return the outcome of the whole."""
    if len(shares) == 1:
        return shares[0].outcome
    errors: list[StoreError] = []
    standings: dict[int, Standing] = {}
    for share in shares:
        if isinstance(share.outcome, StoreError):
            errors.append(share.outcome)
        else:
            standings.update(zip(share.positions, share.outcome, strict=True))
    if errors:
        return worst(errors, is_partial=len(errors) < len(shares))
    return [standings[position] for position in range(len(admission.draws))]


def write(
    slot: int, shares: Sequence[AdmissionShare], common: tuple[str, int, int], ledgers_max: int, *, is_cluster: bool
) -> list[tuple[Command, Sequence[AdmissionShare]]]:
    """Return the calls that apply these shares, and which answers which.

    What they have in common: the channel for refunds, the time in ms (0: the server's), and the most holds of a counter.
    """
    chunks = [shares[start : start + ledgers_max] for start in range(0, len(shares), ledgers_max)]
    return [(_call(slot, chunk, common, is_cluster=is_cluster), chunk) for chunk in chunks]


def read(command: Command, shares: Sequence[AdmissionShare]) -> None:
    """Put the answer to a call into its shares."""
    error = error_of(command.reply)
    try:
        if error is None:
            if not isinstance(command.reply, list):
                raise TypeError  # noqa: TRY301 - one place answers all that makes no sense
            at = 0
            for share in shares:
                share.outcome = _read_one(command.reply, at, len(share.admission.draws))
                at += 1 if isinstance(share.outcome, StoreRefused) else _NUMBERS * len(share.outcome)
    except (TypeError, ValueError, IndexError):
        error = StoreTimeout("Redis gave an answer that makes no sense")
    if error is not None:
        for share in shares:
            share.outcome = error


def _call(slot: int, shares: Sequence[AdmissionShare], common: tuple[str, int, int], *, is_cluster: bool) -> Command:
    stems: dict[str, int] = {}
    texts: dict[str, int] = {"": 0}
    numbers: list[int] = []
    # The limiter gives one admission several times where calls are equal.
    for alike in [list(each) for _, each in groupby([share.admission for share in shares], id)]:
        admission = alike[0]
        head = len(admission.draws) + _RUN * (len(alike) - 1)
        numbers.append(-head if admission.is_kept else head)
        for draw in admission.draws:
            text = _terms(draw.terms)
            if "}" in draw.stem and draw.terms.algorithm is _REFERENCE:
                text = f"{text} {tag_of(draw)}".rstrip()
            numbers += (
                -texts.setdefault(draw.stem, len(texts) + _TEXTS_FROM)
                if is_cluster
                else stems.setdefault(draw.stem, len(stems) + 1),
                texts.setdefault(text, len(texts) + _TEXTS_FROM),
                texts.setdefault(draw.id, len(texts) + _TEXTS_FROM),
                draw.life_ms * 64 + draw.op * 4 + draw.role,
                draw.hits,
                draw.start,
                draw.end,
            )
    del texts[""]
    ledgers = pack(f"<{len(numbers)}d", *numbers)
    channel, now_ms, holds_max = common
    # A server of its own does not care; to write stems once costs less than all that is beside them.
    keys = _keys(shares) if is_cluster else list(stems)
    return Command(
        ("EVALSHA", ADMIT.digest, len(keys), *keys, now_ms, channel, holds_max, ledgers, *texts), slot, ADMIT
    )


def _keys(shares: Sequence[AdmissionShare]) -> Sequence[str]:
    return list(dict.fromkeys(key for share in shares for draw in share.admission.draws for key in keys_of(draw)))


# What the script has a number of draws end at, and times begin.
_RUN = 65_536

# Of ARGV; what stands before is one less, for the text of no id that is not sent.
_TEXTS_FROM = 4

# By identity, since hashing terms costs more than writing them; a rule's terms are one object. Bounded: new rules bring
# new ones.
_TEXTS: dict[int, tuple[Terms, str]] = {}
_TEXTS_MAX = 4_096


def _terms(terms: Terms) -> str:
    known = _TEXTS.get(id(terms))
    if known is not None and known[0] is terms:
        return known[1]
    if len(_TEXTS) >= _TEXTS_MAX:
        _TEXTS.clear()
    text = (
        f"{_LETTERS[terms.algorithm]} {terms.limit} {terms.window_ms} {terms.capacity} {int(terms.is_exhausted)} "
        f"{terms.hold_ms} {terms.hold_max} {terms.remember_ms}"
    )
    _TEXTS[id(terms)] = terms, text
    return text


# Of each draw: before, after, held, flags, reset.
_NUMBERS = 5


def _read_one(answers: Sequence[Reply], at: int, draws: int) -> Standings | StoreRefused:
    if isinstance(answers[at], bytes):
        return StoreRefused(answers[at].decode())
    standings = []
    for start in range(at, at + _NUMBERS * draws, _NUMBERS):
        before, after, held, flags, reset_ms = answers[start : start + _NUMBERS]
        if not type(before) is type(after) is type(held) is type(flags) is type(reset_ms) is int:
            raise TypeError
        standings.append(Standing(before, after, held, flags & 1 == 1, reset_ms, flags & 2 == 2))
    return standings
