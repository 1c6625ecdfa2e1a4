"""What is answered, and what becomes of charges, while the counters cannot be reached.

    store error ──▶ every rule of the request says what then? ── no ──▶ the error, and the gateway's failure mode
                                  │ yes
                                  ├── open    passes            a charge that surely did not happen waits to be
                                  ├── closed  is over           made later (STORE_REPLAY_MAX), or is told as lost
                                  └── local   counted here, on a share of the limit

1. The strictest rule decides for a request, as ever: one `error` among its rules is an error.
2. Only charges that surely did not happen are made later. A timeout may have happened: it is told as lost, since
   a token counted twice is worse than one counted by nobody but us.
3. A charge that waits goes to the window it was made in; it is never refused. Where the queue is full, the oldest is
   lost. What is lost is told in hits, never silently.
4. A call with an id that may be a hold or the charge that settles it (AUTO) waits as what it is, behind the hold of its id:
   the counter knows which it was. Where none may wait, or its request was refused, it is told as a charge that is lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from math import floor, inf

from ratelimit.draw import Algorithm, Draw, Op, Role, Terms
from ratelimit.drawing import draw_of, status
from ratelimit.errors import StoreError, StoreUnavailable
from ratelimit.modes import OnStoreError
from ratelimit.plan import Counting, Plan, Step
from ratelimit.spans import Spans
from ratelimit.store import Admission, Ledger, Store
from ratelimit.verdict import NO_LIMIT, UNLIMITED, Status
from serving.clock import Clock
from serving.metrics import Registry

_log = logging.getLogger(__name__)

# Charges made later in one round trip, and time between two attempts.
_REPLAY_AT_ONCE = 256
_REPLAY_PAUSE_SECONDS = 0.5
_REPLAY_TIMEOUT_SECONDS = 1.0

# What a refused client is told to wait where nobody knows better.
_CLOSED_RESET_SECONDS = 1

_SPENDING = {Op.CHARGE, Op.FORCE, Op.SETTLE}
_PAIRED = {Op.AUTO, Op.RESERVE}
"""What is told apart by the ids that a counter knows."""


class Outage:
    """Answers in place of a store that does not."""

    def __init__(self, store: Store, local: Store, clock: Clock, registry: Registry, *, replay_max: int) -> None:
        self._store = store
        self._local = local
        self._clock = clock
        self._replay_max = replay_max
        self.is_wanted = True
        """Whether any rule in force has an answer of its own; no call is looked at for one where none has."""
        self._waiting: deque[Admission] = deque()
        self._task: asyncio.Task[None] | None = None
        self._answers = {mode: registry.counter("weir.store_error.answers", mode=mode.value) for mode in OnStoreError}
        self._lost = registry.counter("weir.store_error.hits_lost")
        self._replayed = registry.counter("weir.store_error.hits_replayed")
        registry.gauge("weir.store_error.charges_waiting", lambda: len(self._waiting))

    async def stop(self) -> None:
        """Give up what still waits."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        while self._waiting:
            self._lose(self._waiting.popleft())

    async def statuses(
        self, plan: Plan, wanted: Ledger | Admission, hits: int, error: StoreError, spans: Spans
    ) -> list[Status] | None:
        """Return the statuses that the rules of a request ask for; None: the error is the answer."""
        if not plan.survives_outage:
            self._answers[OnStoreError.ERROR].add()
            return None
        told = zip(plan.steps, plan.stems, strict=True)
        statuses = [await self._status(step, stem, hits, spans) for step, stem in told]
        if not any(each.is_over for each in statuses) or _is_charge(wanted):
            self._keep(_forced(wanted), error)
        else:
            self._lose(_perhaps_done(wanted))
        return statuses

    async def _status(self, step: Step, stem: str, hits: int, spans: Spans) -> Status:
        rule = step.rule
        if rule is None or rule.limit is None:
            return NO_LIMIT if rule is None else UNLIMITED
        mode = rule.modes.on_store_error
        self._answers[mode].add()
        if mode is OnStoreError.LOCAL:
            return await self._locally(step, stem, hits, spans)
        is_over = mode is OnStoreError.CLOSED and not rule.shadow_mode and not step.is_refund
        if is_over:
            return Status(is_over=True, limit=rule.limit, remaining=0, reset_seconds=_CLOSED_RESET_SECONDS)
        return Status(is_over=False, limit=rule.limit, remaining=rule.limit.capacity, reset_seconds=0)

    async def _locally(self, step: Step, stem: str, hits: int, spans: Spans) -> Status:
        """Count one descriptor here."""
        countings = tuple(_shared(counting, step) for counting in _countings(step, stem))
        mine = replace(step, countings=countings)
        op = Op.REFUND if step.is_refund else Op.CHARGE
        draws = [draw_of(counting, op, step.cost(hits), Role.BLOCK, "", spans) for counting in countings]
        _, [standings] = await self._local.admit((), [Admission(draws, inf, is_kept=True)], spans.now)
        if isinstance(standings, StoreError):  # pragma: no cover - memory has no errors
            return Status(is_over=False, limit=step.rule.limit if step.rule else None)
        return status(mine, draws, standings, None, spans)

    # -- charges that did not happen -----------------------------------------------------------

    def _keep(self, charge: Admission, error: StoreError) -> None:
        if not charge.draws:
            return
        if not isinstance(error, StoreUnavailable) or self._replay_max == 0:
            self._lose(charge)
            return
        self._waiting.append(charge)
        if len(self._waiting) > self._replay_max:
            self._lose(self._waiting.popleft())
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._replay())

    def _lose(self, charge: Admission) -> None:
        self._lost.add(_hits(charge))

    async def _replay(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(_REPLAY_AT_ONCE, len(self._waiting)))]
            deadline = self._clock.steady() + _REPLAY_TIMEOUT_SECONDS
            asked = [replace(charge, deadline=deadline) for charge in batch]
            _, outcomes = await self._store.admit((), asked, self._clock.wall())
            away = []
            for charge, outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, StoreUnavailable):
                    away.append(charge)
                elif isinstance(outcome, StoreError):
                    self._lose(charge)
                else:
                    self._replayed.add(_hits(charge))
            self._waiting.extendleft(reversed(away))
            if away:
                await asyncio.sleep(_REPLAY_PAUSE_SECONDS)


def _countings(step: Step, stem: str) -> Sequence[Counting]:
    if step.countings or step.rule is None or step.rule.limit is None:
        return step.countings
    return (Counting(step.rule.limit, stem, Terms(Algorithm.REFERENCE, step.rule.limit.amount), step.near_mark),)


def _shared(counting: Counting, step: Step) -> Counting:
    """Return a counter of this replica's share: no holds, and windows of its own even where the reference counts."""
    terms = counting.terms
    share = step.rule.modes.local_share if step.rule is not None else 0.0
    algorithm = Algorithm.FIXED_WINDOW if terms.algorithm is Algorithm.REFERENCE else terms.algorithm
    limit, capacity = floor(counting.limit.amount * share), floor(counting.limit.capacity * share)
    mine = Terms(algorithm, limit, terms.window_ms, capacity, terms.is_exhausted)
    told = replace(counting.limit, amount=limit, burst=capacity if counting.limit.burst else 0)
    return Counting(told, counting.stem, mine, counting.near_mark)


def _is_charge(wanted: Ledger | Admission) -> bool:
    return isinstance(wanted, Admission) and any(draw.op in {Op.FORCE, Op.SETTLE} for draw in wanted.draws)


def _hits(charge: Admission) -> int:
    """Return what an admission spends; a hold spends nothing."""
    return max((draw.hits for draw in charge.draws if draw.op is not Op.RESERVE), default=0)


def _perhaps_done(refused: Ledger | Admission) -> Admission:
    """Return what may have been a charge of work that was done, of a request that is answered as refused."""
    draws = refused.draws if isinstance(refused, Admission) else ()
    return Admission([draw for draw in draws if draw.op is Op.AUTO], refused.deadline)


def _forced(wanted: Ledger | Admission) -> Admission:
    """Return what has to be spent, once somebody can count again; looks, and holds that nothing names, are over by then."""
    if isinstance(wanted, Admission):
        forced = [
            replace(draw, op=draw.op if draw.op in _PAIRED else Op.FORCE, role=Role.SHADOW)
            for draw in wanted.draws
            if draw.hits and (draw.op in _SPENDING or (draw.op in _PAIRED and draw.id))
        ]
        return Admission(forced, wanted.deadline)
    return Admission(
        [
            Draw(
                charge.key, Op.FORCE, charge.hits, _PLAIN, Role.SHADOW, "", 0, charge.ttl_seconds, charge.is_per_second
            )
            for charge in wanted.charges
            if charge.hits and not charge.is_refund
        ],
        wanted.deadline,
    )


_PLAIN = Terms(Algorithm.REFERENCE, 0)
