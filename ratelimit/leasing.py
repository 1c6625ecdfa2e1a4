"""Leases: a replica takes a block of hits and spends it by itself, so that a hot key is not asked for at every call.

    call ──▶ block has enough? ── yes ──▶ answered here
                  │ no
                  └──▶ LEASE what this batch lacks, or a block if that is more ──▶ one round trip ──▶ answered here

1. A block is spent when it is granted, and granted only as far as it fits: all replicas together never let through
   more than the limit. What is left of a block when its life ends is spent by nobody, and goes back: with the next
   lease of its counter, or soon by itself. A replica that dies takes what it had.
2. A block doubles while it does not last half its life, up to the rule's share. One whose life has ended is followed by
   one as large as what was spent of it: a key that is hot is asked for some times in a life, one that is not no more
   often than without.
3. Only calls that may be refused, and looks, are answered here. Everything else (charges for work that was done,
   refunds, holds) goes to the store, in the same round trip.
4. Answers tell what is left as this replica heard it last, at most a block's life ago; other replicas' blocks count
   as spent.
   Tokens are spent up to a block's life later than they were charged: in windows nobody can tell, of a sliding window or
   a bucket an interval holds what the limit lets through in that much longer. What has left a bucket meanwhile has left it
   for everybody, and is not given back.
5. Batches overlap: what one of them counts on while it waits for the store is promised to it, and spent by no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import groupby, islice
from math import ceil

from ratelimit.draw import Algorithm, Draw, Op, Role, Standing
from ratelimit.errors import StoreError, StoreTimeout
from ratelimit.store import Admission, AdmissionOutcome, HoldsPage, Ledger, Outcome, Store
from serving.clock import Clock
from serving.metrics import Registry

# Blocks that are given back in one round trip, and what they may take.
_RETURNED_AT_ONCE = 256
_RETURN_TIMEOUT_SECONDS = 1.0


@dataclass(slots=True, eq=False)
class _Block:
    """What this replica holds of one counter in one window."""

    draw: Draw
    """As it was asked for: gives what is left back."""
    size: int = 0
    """Hits asked for at a time."""
    left: int = 0
    used: int = 0
    """Spent since it was asked for last."""
    promised: int = 0
    """Of what is left, to batches that wait for the store."""
    waiting: int = 0
    """Batches that wait for the store, and will answer out of it."""
    spent: int = 0
    """Of the counter, as last heard."""
    reset_ms: int = 0
    heard_at: float = 0.0
    """In steady seconds; 0: never."""
    since: float = 0.0
    """When the oldest of what is left was granted."""
    ends_at: float = 0.0
    error: StoreError | None = None
    """What came instead of hits, the last time."""

    @property
    def free(self) -> int:
        """Return what is left for who asks now."""
        return self.left - self.promised

    def returnable(self, hits: int, steady: float) -> int:
        """Return how many of some hits are still in the counter."""
        terms = self.draw.terms
        if terms.algorithm is not Algorithm.TOKEN_BUCKET:
            return hits
        return max(0, hits - ceil((steady - self.since) * 1000 * terms.limit / terms.window_ms))


@dataclass(slots=True)
class _Need:
    """What one batch wants of one block."""

    draw: Draw
    """Under the terms of now: a dynamic limit may have changed them."""
    hits: int = 0
    promised: int = 0


@dataclass(slots=True)
class _Run:
    """An admission that is answered here, and how often it follows itself: the limiter drafts equal calls as one."""

    admission: Admission
    times: int
    blocks: Sequence[_Block]
    """Of its draws; none: it is not answered here."""


class LeasingStore:
    """A store in front of another, for counters whose terms lease; see the port for the verbs."""

    def __init__(self, store: Store, clock: Clock, registry: Registry, *, blocks_max: int) -> None:
        self._store = store
        self._clock = clock
        self._blocks_max = blocks_max
        self._blocks: dict[tuple[str, int], _Block] = {}
        self._returning: asyncio.Task[None] | None = None
        self._taken = registry.counter("weir.leases.taken")
        self._answered = registry.counter("weir.leases.answers")
        self._unreturned = registry.counter("weir.leases.hits_unreturned")
        registry.gauge("weir.leases.blocks", lambda: len(self._blocks))

    async def start(self) -> None:
        """Start the store behind."""
        await self._store.start()

    async def stop(self) -> None:
        """Give every block back, and let go."""
        if self._returning is not None:
            self._returning.cancel()
            with suppress(asyncio.CancelledError):
                await self._returning
        for block in self._blocks.values():
            # Who waits still keeps the block that it counts on, but nobody else will.
            block.ends_at, block.waiting = 0.0, 0
        while self._blocks:
            await self._give_back()
        await self._store.stop()

    @property
    def is_healthy(self) -> bool:
        """As the store behind."""
        return self._store.is_healthy

    def on_refund(self, forget: Callable[[str], None]) -> None:
        """As the store behind."""
        self._store.on_refund(forget)

    async def charge(self, ledgers: Sequence[Ledger], now: float) -> Sequence[Outcome]:
        """As the store behind: the reference's rules do not lease."""
        return await self._store.charge(ledgers, now)

    async def admit(
        self, ledgers: Sequence[Ledger], admissions: Sequence[Admission], now: float
    ) -> tuple[Sequence[Outcome], Sequence[AdmissionOutcome]]:
        """Answer from blocks what they can pay, take what lacks, and have the rest done by the store."""
        runs = [self._run(list(alike)) for _, alike in groupby(admissions, id)]
        if not any(run.blocks for run in runs):
            return await self._store.admit(ledgers, admissions, now)
        steady = self._clock.steady()
        needs = _needs(runs)
        wanted = [(block, draw) for block, need in needs.items() for draw in self._wanted(block, need, steady)]
        others = [run.admission for run in runs if not run.blocks for _ in range(run.times)]
        outcomes: Sequence[Outcome] = ()
        answers: Sequence[AdmissionOutcome] = ()
        if ledgers or others or wanted:
            deadline = max(admission.deadline for admission in admissions)
            asked = [Admission([draw], deadline) for _, draw in wanted]
            with _promised(needs):
                outcomes, answers = await self._store.admit(ledgers, [*others, *asked], now)
            for (block, draw), answer in zip(wanted, answers[len(others) :], strict=True):
                self._hear(block, draw, answer, steady)
        rest = iter(answers)
        return outcomes, [
            answer for run in runs for answer in (self._answer(run, steady) if run.blocks else islice(rest, run.times))
        ]

    def _run(self, alike: Sequence[Admission]) -> _Run:
        admission = alike[0]
        blocks = [self._block(draw) for draw in admission.draws] if self._is_mine(admission) else ()
        return _Run(admission, len(alike), blocks)

    def _block(self, draw: Draw) -> _Block:
        key = draw.stem, draw.start
        block = self._blocks.get(key)
        if block is None:
            block = self._blocks[key] = _Block(replace(draw, op=Op.LEASE, role=Role.SHADOW, id=""))
            self._begin_returning()
        return block

    def _is_mine(self, admission: Admission) -> bool:
        # Most requests lease nothing: told by their first draw, without a loop.
        if not admission.draws[0].terms.lease_ms:
            return False
        has_room = len(self._blocks) + len(admission.draws) <= self._blocks_max
        return all(
            draw.terms.lease_ms
            and draw.op is Op.CHARGE
            and draw.role is Role.BLOCK
            and not draw.terms.remember_ms
            and (has_room or (draw.stem, draw.start) in self._blocks)
            for draw in admission.draws
        )

    async def holds(self, draw: Draw, *, cursor: str, most: int, now: float, deadline: float) -> HoldsPage | StoreError:
        """As the store behind: what leases does not hold."""
        return await self._store.holds(draw, cursor=cursor, most=most, now=now, deadline=deadline)

    # -- taking --------------------------------------------------------------------------------

    def _wanted(self, block: _Block, need: _Need, steady: float) -> Iterator[Draw]:
        """Yield what the store is to be asked for, so that a block can pay what a batch needs."""
        terms, is_ended = need.draw.terms, block.ends_at <= steady
        if is_ended:
            if returned := block.returnable(block.free, steady):
                yield replace(block.draw, op=Op.REFUND, hits=returned, terms=terms)
            block.left = block.promised
            block.size = block.used if block.heard_at else need.hits
        elif block.free >= need.hits:
            need.promised = need.hits
            return
        elif block.used and steady < block.ends_at - terms.lease_ms / 2000:
            block.size = max(1, 2 * block.size)
        block.size = min(block.size, terms.lease_max)
        block.used, need.promised = 0, block.free
        yield replace(block.draw, hits=max(need.hits - block.free, block.size), terms=terms)

    def _hear(self, block: _Block, draw: Draw, answer: AdmissionOutcome, steady: float) -> None:
        is_returned = draw.op is Op.REFUND
        if isinstance(answer, StoreError):
            # They stay spent, or may be: less is let through than might be, never more.
            if is_returned or isinstance(answer, StoreTimeout):
                self._unreturned.add(draw.hits)
            block.error = answer
            return
        standing = answer[0]
        block.spent, block.reset_ms, block.heard_at, block.error = standing.after, standing.reset_ms, steady, None
        if not is_returned:
            block.since = block.since if block.left else steady
            block.left += standing.after - standing.before
            block.ends_at = steady + draw.terms.lease_ms / 1000
            self._taken.add()

    # -- answering -----------------------------------------------------------------------------

    def _answer(self, run: _Run, steady: float) -> Iterator[AdmissionOutcome]:
        """Answer out of blocks: all of a request, or nothing of it."""
        self._answered.add(run.times)
        draws, passed = run.admission.draws, 0
        if len(draws) == 1 and draws[0].hits:
            # Nearly always: as many as fit pass, one by one, and none of those behind them does.
            [block], hits = run.blocks, draws[0].hits
            passed = min(run.times, block.free // hits)
            before, reset_ms = block.spent - block.left, _reset_ms(block, steady)
            block.left -= passed * hits
            block.used += passed * hits
            for spent in range(before, before + passed * hits, hits):
                yield [Standing(spent, spent + hits, 0, False, reset_ms)]
        for _ in range(run.times - passed):
            yield _answer_one(draws, run.blocks, steady)

    # -- giving back ---------------------------------------------------------------------------

    def _begin_returning(self) -> None:
        if self._returning is None or self._returning.done():
            self._returning = asyncio.create_task(self._return_all())

    async def _return_all(self) -> None:
        """Give back what has ended, as long as there are blocks."""
        while self._blocks:
            await asyncio.sleep(min(block.draw.terms.lease_ms for block in self._blocks.values()) / 2000)
            await self._give_back()

    async def _give_back(self) -> None:
        steady = self._clock.steady()
        ended = [(key, block) for key, block in self._blocks.items() if block.ends_at <= steady and not block.waiting][
            :_RETURNED_AT_ONCE
        ]
        for key, _ in ended:
            del self._blocks[key]
        lefts = [(block, block.returnable(block.left, steady)) for _, block in ended]
        returned = [replace(block.draw, op=Op.REFUND, hits=left) for block, left in lefts if left]
        if not returned:
            return
        deadline = steady + _RETURN_TIMEOUT_SECONDS
        asked = [Admission([draw], deadline) for draw in returned]
        _, answers = await self._store.admit((), asked, self._clock.wall())
        for draw, answer in zip(returned, answers, strict=True):
            if isinstance(answer, StoreError):
                self._unreturned.add(draw.hits)


def _needs(runs: Sequence[_Run]) -> dict[_Block, _Need]:
    """Return what a batch wants of each block."""
    needs: dict[_Block, _Need] = {}
    for run in runs:
        for draw, block in zip(run.admission.draws, run.blocks, strict=False):  # it has none where it is not ours
            need = needs.setdefault(block, _Need(draw))
            need.draw = draw
            need.hits += draw.hits * run.times
    return needs


@contextmanager
def _promised(needs: Mapping[_Block, _Need]) -> Iterator[None]:
    """Keep for a batch what it counts on, while it waits."""
    for block, need in needs.items():
        block.promised += need.promised
        block.waiting += 1
    try:
        yield
    finally:
        for block, need in needs.items():
            block.promised -= need.promised
            block.waiting -= 1


def _answer_one(draws: Sequence[Draw], blocks: Sequence[_Block], steady: float) -> AdmissionOutcome:
    """Answer one request."""
    needs: dict[_Block, int] = {}
    over = []
    for draw, block in zip(draws, blocks, strict=True):
        need = needs[block] = needs.get(block, 0) + draw.hits
        is_over = need > block.free if draw.hits else _is_out(block, draw)
        if block.error is not None and (is_over or not block.heard_at):
            return block.error
        over.append(is_over)
    is_refused = any(over)
    standings = []
    for draw, block, is_over in zip(draws, blocks, over, strict=True):
        before = block.spent - block.left
        if not is_refused:
            block.left -= draw.hits
            block.used += draw.hits
        standings.append(Standing(before, block.spent - block.left, 0, is_over, _reset_ms(block, steady)))
    return standings


def _reset_ms(block: _Block, steady: float) -> int:
    return max(0, block.reset_ms - int((steady - block.heard_at) * 1000))


def _is_out(block: _Block, draw: Draw) -> bool:
    """Return whether a look finds its counter over, or exhausted where the rule asks for that."""
    spent = block.spent - block.left
    return spent >= draw.terms.capacity if draw.terms.is_exhausted else spent > draw.terms.capacity
