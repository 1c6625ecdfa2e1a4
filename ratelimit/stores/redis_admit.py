"""Admissions as calls of `admit.lua`, and its answers as standings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha1
from itertools import count, groupby, repeat
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
_REFERENCE, _TOKEN_BUCKET = Algorithm.REFERENCE, Algorithm.TOKEN_BUCKET
_SPANS = StoreRefused("all or nothing over several slots or servers is not possible: see hash_tag")


@dataclass(slots=True)
class AdmissionShare:
    """What one place has of one admission, as often as it follows itself."""

    origin: int
    """Position of the first of them in the batch."""
    admission: Admission
    positions: Sequence[int] = ()
    """Where its draws stand in the whole; nothing is said where it is the whole."""
    times: int = 1
    outcomes: Sequence[AdmissionOutcome] = ()
    """Of each time."""


def runs(admissions: Sequence[Admission], most: int) -> Iterator[AdmissionShare]:
    """Yield each admission with how often it follows itself, up to `most`: the limiter gives one for equal calls."""
    origin = 0
    for _, group in groupby(admissions, id):
        alike = list(group)
        for done in range(0, len(alike), most):
            times = min(most, len(alike) - done)
            yield AdmissionShare(origin, alike[0], times=times)
            origin += times


def deal(whole: AdmissionShare, place_of: Callable[[Draw], Place]) -> dict[Place, AdmissionShare] | StoreError:
    """Deal admissions out to the places of their counters; one that is kept cannot be parted."""
    admission = whole.admission
    positions: dict[Place, list[int]] = {}
    for position, draw in enumerate(admission.draws):
        positions.setdefault(place_of(draw), []).append(position)
    if len(positions) == 1:
        return dict.fromkeys(positions, whole)
    if admission.is_kept:
        return _SPANS
    return {
        place: AdmissionShare(
            whole.origin,
            Admission([admission.draws[position] for position in mine], admission.deadline),
            mine,
            whole.times,
        )
        for place, mine in positions.items()
    }


def gather(admission: Admission, shares: Sequence[AdmissionShare]) -> Sequence[AdmissionOutcome]:
    """Return the outcome of the whole, for each time."""
    if len(shares) == 1:
        return shares[0].outcomes
    positions = [share.positions for share in shares]
    parts = zip(*(share.outcomes for share in shares), strict=True)
    return [_whole(len(admission.draws), positions, outcomes) for outcomes in parts]


def _whole(draws: int, positions: Sequence[Sequence[int]], outcomes: Sequence[AdmissionOutcome]) -> AdmissionOutcome:
    errors: list[StoreError] = []
    standings: dict[int, Standing] = {}
    for mine, outcome in zip(positions, outcomes, strict=True):
        if isinstance(outcome, StoreError):
            errors.append(outcome)
        else:
            standings.update(zip(mine, outcome, strict=True))
    if errors:
        return worst(errors, is_partial=len(errors) < len(outcomes))
    return [standings[position] for position in range(draws)]


def write(
    slot: int, shares: Sequence[AdmissionShare], common: tuple[str, int, int], ledgers_max: int, *, is_cluster: bool
) -> list[tuple[Command, Sequence[AdmissionShare]]]:
    """Return the calls that apply these shares, and which answers which.

    What they have in common: the channel for refunds, the time in ms (0: the server's), and the most holds of a counter.
    """
    chunks: list[list[AdmissionShare]] = []
    room = 0
    for share in shares:
        room -= share.times
        if room < 0:
            chunks.append([])
            room = ledgers_max - share.times
        chunks[-1].append(share)
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
                at = (_read_alike if _is_told_alike(share) else _read_each)(command.reply, at, share)
    except (TypeError, ValueError, IndexError):
        error = StoreTimeout("Redis gave an answer that makes no sense")
    if error is not None:
        for share in shares:
            share.outcomes = [error] * share.times


def _call(slot: int, shares: Sequence[AdmissionShare], common: tuple[str, int, int], *, is_cluster: bool) -> Command:
    stems: dict[str, int] = {}
    texts: dict[str, int] = {"": 0}
    numbers: list[int] = []
    for share in shares:
        admission = share.admission
        head = len(admission.draws) + _RUN * (share.times - 1)
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


# A standing of a tuple: a run of 20 is read in two thirds of what the constructor takes (230 ns for each and not 340).
_STANDING: Callable[[tuple[int, int, int, bool, int, bool]], Standing] = partial(tuple.__new__, Standing)

# Of each draw: before, after, held, flags, reset. Of draws that are told alike also how many, and by what `held` moves on.
_NUMBERS, _NUMBERS_ALIKE = 5, 7


def _is_told_alike(share: AdmissionShare) -> bool:
    draws = share.admission.draws
    return share.times > 1 and len(draws) == 1 and draws[0].terms.algorithm is not _TOKEN_BUCKET


def _read_each(answers: Sequence[Reply], at: int, share: AdmissionShare) -> int:
    """Read what is told of each time; return where the next answer begins."""
    outcomes: list[AdmissionOutcome] = []
    for _ in range(share.times):
        outcome = _read_one(answers, at, len(share.admission.draws))
        at += 1 if isinstance(outcome, StoreRefused) else _NUMBERS * len(outcome)
        outcomes.append(outcome)
    share.outcomes = outcomes
    return at


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


def _read_alike(answers: Sequence[Reply], at: int, share: AdmissionShare) -> int:
    """Read what is told of some at a time; return where the next answer begins."""
    outcomes: list[AdmissionOutcome] = []
    while len(outcomes) < share.times:
        if isinstance(answers[at], bytes):
            outcomes.append(StoreRefused(answers[at].decode()))
            at += 1
            continue
        told = answers[at : at + _NUMBERS_ALIKE]
        before, after, held, flags, reset_ms, times, step = told
        if not all(type(number) is int for number in told) or not 0 < times <= share.times - len(outcomes):
            raise TypeError
        spent, is_over, is_ended = after - before, repeat(flags & 1 == 1), repeat(flags & 2 == 2)
        numbers = zip(
            count(before, spent), count(after, spent), count(held, step), is_over, repeat(reset_ms, times), is_ended
        )
        outcomes += [[each] for each in map(_STANDING, numbers)]
        at += _NUMBERS_ALIKE
    share.outcomes = outcomes
    return at
