"""Admit or refuse, on counters in this process: what the memory store does, and what the Redis script is held to.

    draws ── resolve, in order ──▶ effects ── fold roles ──▶ refused? ──▶ apply, in order ──▶ standings

Resolving reads the counters and what earlier draws of the same ledger want (`_Trial`), and writes nothing. Applying
writes and decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil, floor
from typing import Protocol

from ratelimit.algorithms.fixed_window import FixedWindow
from ratelimit.algorithms.sliding_window import SlidingWindow
from ratelimit.algorithms.token_bucket import TokenBucket
from ratelimit.draw import MEMORY_LIVES, SWEEP_MAX, Algorithm, Draw, Op, Role, Standing, Terms
from ratelimit.reservation import Hold, Holds


class Meter(Protocol):
    """How hits enter and leave one counter. Windows are named by their start; times are in ms."""

    def spent(self, start: int, now_ms: int, /) -> float:
        """Return what counts now."""

    def add(self, draw: Draw, start: int, hits: int, now_ms: int, /) -> None:
        """Spend hits."""

    def take(self, start: int, hits: int, now_ms: int, /) -> None:
        """Give hits back, not below 0."""

    def reset_ms(self, draw: Draw, excess: float, now_ms: int, /) -> int:
        """Return when `excess` hits have left; 0: when all have, or the window ends."""


def make_meter(terms: Terms) -> Meter:
    """Return an empty counter for an algorithm."""
    match terms.algorithm:
        case Algorithm.SLIDING_WINDOW:
            return SlidingWindow(terms.window_ms)
        case Algorithm.TOKEN_BUCKET:
            return TokenBucket(terms)
        case _:
            return FixedWindow(terms.hold_ms * (1 + MEMORY_LIVES))


class Counter:
    """A meter, its holds, and what was charged under an id."""

    def __init__(self, meter: Meter, charged_max: int) -> None:
        self.meter = meter
        self.holds = Holds()
        self.charged: dict[str, int] = {}
        """Fingerprints of charges and refunds, and until when (ms) a repetition counts nothing; oldest first."""
        self._charged_max = charged_max

    def remember(self, fingerprint: str, until_ms: int) -> None:
        """Have a repetition count nothing; where there is no room, the oldest counts again."""
        self.charged[fingerprint] = until_ms
        if len(self.charged) > self._charged_max:
            del self.charged[next(iter(self.charged))]

    def sweep(self, now_ms: int, memory_ms: int) -> None:
        """End the holds that are due, and forget ids."""
        self.holds.sweep(now_ms, memory_ms)
        for _ in range(min(SWEEP_MAX, len(self.charged))):
            oldest = next(iter(self.charged))
            if self.charged[oldest] > now_ms:
                break
            del self.charged[oldest]


@dataclass(slots=True)
class _Trial:
    """What earlier draws of the ledger want of one counter: windows and what they hold by their start."""

    spent: dict[int, float] = field(default_factory=dict)
    held: dict[int, int] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    reserved: set[str] = field(default_factory=set)
    charged: set[str] = field(default_factory=set)
    forgotten: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Effect:
    """What a draw does if it is applied."""

    counter: Counter
    start: int
    """Window that is charged."""
    is_over: bool = False
    is_sure: bool = False
    """Applied also if the ledger is refused."""
    spent: int = 0
    taken: int = 0
    held: int | None = None
    ended: str = ""
    """Name of the hold that ends."""
    charged: str = ""
    """Fingerprint to remember."""
    forgotten: str = ""
    """Fingerprint that counts again."""
    excess: float = 0.0
    """What would have to leave first."""


class Admitter:
    """Applies ledgers to counters that `find` gives."""

    def __init__(self, find: Callable[[Draw], Counter], *, holds_max: int) -> None:
        self._find = find
        self._holds_max = holds_max

    def admit(self, draws: Sequence[Draw], now_ms: int, *, is_kept: bool) -> list[Standing]:
        """Apply one ledger; return how each counter stands after its draw."""
        trials: dict[str, _Trial] = {}
        effects = []
        for draw in draws:
            counter = self._find(draw)
            counter.sweep(now_ms, draw.terms.hold_ms * MEMORY_LIVES)
            effects.append(self._resolve(draw, counter, trials.setdefault(draw.stem, _Trial()), now_ms))
        is_refused = is_kept and _refuses(draws, effects)
        return [
            _apply(draw, effect, now_ms, is_applied=effect.is_sure or not is_refused)
            for draw, effect in zip(draws, effects, strict=True)
        ]

    def _resolve(self, draw: Draw, counter: Counter, trial: _Trial, now_ms: int) -> _Effect:
        start = draw.start
        if start not in trial.spent:
            trial.spent[start] = counter.meter.spent(start, now_ms)
        total = trial.spent[start] + counter.holds.total(start) + trial.held.get(start, 0)
        effect = _Effect(counter, start)
        op = draw.op
        if op is Op.AUTO:
            op = Op.SETTLE if counter.holds.is_known(draw.id) else Op.RESERVE
        charged = _fingerprint(draw, op)
        if charged and _is_repeat(charged, counter, trial):
            effect.is_over = total > draw.terms.capacity
            return effect
        effect.charged = charged
        if op is Op.LEASE:
            effect.spent = max(0, min(draw.hits, floor(draw.terms.capacity - total)))
            effect.is_over = not effect.spent
            trial.spent[start] += effect.spent
        elif op in {Op.CHARGE, Op.RESERVE}:
            self._ask(draw, op, effect, trial, total)
        else:
            _tell(draw, op, effect, trial)
        trial.charged.add(charged)
        return effect

    def _ask(self, draw: Draw, op: Op, effect: _Effect, trial: _Trial, total: float) -> None:
        """Resolve what may be refused."""
        start, terms = draw.start, draw.terms
        hits = min(draw.hits, terms.hold_max) if op is Op.RESERVE else draw.hits
        effect.excess = total + hits - terms.capacity
        effect.is_over = effect.excess > 0
        if op is Op.CHARGE:
            effect.is_over |= not draw.hits and terms.is_exhausted and effect.excess >= 0
            effect.spent = draw.hits
            trial.spent[start] += draw.hits
            return
        holds = effect.counter.holds
        if draw.id and (draw.id in trial.reserved or holds.find(draw.id, trial.ended)):
            effect.is_over = False
            return
        effect.is_over |= len(holds) + len(trial.reserved) >= self._holds_max
        effect.held = hits
        trial.held[start] = trial.held.get(start, 0) + hits
        trial.reserved.add(draw.id)


def _tell(draw: Draw, op: Op, effect: _Effect, trial: _Trial) -> None:
    """Resolve what has happened and is always applied."""
    effect.is_sure = True
    found = None
    if op is not Op.FORCE and (draw.id or op is not Op.REFUND):
        found = effect.counter.holds.find(draw.id, trial.ended)
    if found is not None:
        effect.ended, hold = found
        trial.ended.add(effect.ended)
        trial.held[hold.start] = trial.held.get(hold.start, 0) - hold.amount
        effect.start = hold.start
    if op in {Op.FORCE, Op.SETTLE}:
        effect.spent = draw.hits
        if effect.start in trial.spent:
            trial.spent[effect.start] += draw.hits
    elif op is Op.REFUND and found is None:
        effect.taken = draw.hits
        trial.spent[draw.start] = max(0, trial.spent[draw.start] - draw.hits)
        # What is given back may be charged again under the same id.
        effect.forgotten = f"c{draw.hits}:{draw.id}"
        trial.forgotten.add(effect.forgotten)
        trial.charged.discard(effect.forgotten)


def _fingerprint(draw: Draw, op: Op) -> str:
    """Return what a repetition is known by; empty where nothing is charged, or nothing remembered."""
    if not draw.terms.remember_ms or not draw.id or not draw.hits or op in {Op.RESERVE, Op.RELEASE, Op.LEASE}:
        return ""
    return f"{'r' if op is Op.REFUND else 'c'}{draw.hits}:{draw.id}"


def _is_repeat(fingerprint: str, counter: Counter, trial: _Trial) -> bool:
    return fingerprint in trial.charged or (fingerprint in counter.charged and fingerprint not in trial.forgotten)


def _refuses(draws: Sequence[Draw], effects: Sequence[_Effect]) -> bool:
    quotas = quotas_over = 0
    for draw, effect in zip(draws, effects, strict=True):
        if draw.role is Role.QUOTA:
            quotas += 1
            quotas_over += effect.is_over
        elif draw.role is Role.BLOCK and effect.is_over and not effect.is_sure:
            return True
    return 0 < quotas == quotas_over


def _apply(draw: Draw, effect: _Effect, now_ms: int, *, is_applied: bool) -> Standing:
    counter, terms, start = effect.counter, draw.terms, draw.start
    meter, holds = counter.meter, counter.holds
    before = meter.spent(start, now_ms)
    if is_applied:
        if effect.ended:
            holds.end(effect.ended, now_ms + terms.hold_ms * MEMORY_LIVES)
        if effect.taken:
            meter.take(start, effect.taken, now_ms)
        if effect.spent:
            meter.add(draw, effect.start, effect.spent, now_ms)
        if effect.held is not None:
            holds.add(draw.id, Hold(effect.held, start, now_ms + draw.hold_ms))
        counter.charged.pop(effect.forgotten, None)
        if effect.charged:
            counter.remember(effect.charged, now_ms + terms.remember_ms)
    after = meter.spent(start, now_ms)
    is_over = after > terms.capacity if effect.is_sure and effect.spent else effect.is_over
    excess = effect.excess if is_over and not effect.is_sure else 0.0
    reset_ms = meter.reset_ms(draw, max(0.0, excess), now_ms)
    return Standing(ceil(before), ceil(after), holds.total(start), is_over, reset_ms, bool(effect.ended))
