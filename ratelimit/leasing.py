"""Leases: a replica takes a block of hits and spends it by itself, so that a hot key is not asked for at every call.

    call ──▶ block has enough? ── yes ──▶ answered here
                  │ no
                  └──▶ LEASE what this batch lacks, or a block if that is more ──▶ one round trip ──▶ answered here

1. A block is spent when it is granted, and granted only as far as it fits: all replicas together never let through
   more than the limit. What is left of a block when its life ends goes back. A replica that dies takes what it had.
2. A block doubles while it does not last half its life, up to the rule's share, and begins anew at what is needed
   once it has ended: a key that is hot is asked for some times in a life, one that is not no more often than without.
3. Only calls that may be refused, and looks, are answered here. Everything else (charges for work that was done,
   refunds, holds) goes to the store, in the same round trip.
4. Answers tell what is left as this replica heard it last, at most a block's life ago; other replicas' blocks count
   as spent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from ratelimit.draw import Draw, Op, Role, Standing
from ratelimit.errors import StoreError
from ratelimit.store import Admission, AdmissionOutcome, HoldsPage, Ledger, Outcome, Store
from serving.clock import Clock
from serving.metrics import Registry

# Blocks that are given back in one round trip, and what they may take.
_RETURNED_AT_ONCE = 256
_RETURN_TIMEOUT_SECONDS = 1.0


@dataclass(slots=True)
class _Block:
    """What this replica holds of one counter in one window."""

    draw: Draw
    """As it was asked for: gives what is left back."""
    size: int
    """Hits asked for at a time."""
    left: int = 0
    granted: int = 0
    spent: int = 0
    """Of the counter, as last heard."""
    reset_ms: int = 0
    heard_at: float = 0.0
    """In steady seconds; 0: never."""
    ends_at: float = 0.0
    error: StoreError | None = None
    """What came instead of hits, the last time."""


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
            block.ends_at = 0.0
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
        steady = self._clock.steady()
        mine = [self._is_mine(admission) for admission in admissions]
        if not any(mine):
            return await self._store.admit(ledgers, admissions, now)
        lacking = self._lacking([each for each, is_mine in zip(admissions, mine, strict=True) if is_mine], steady)
        others = [each for each, is_mine in zip(admissions, mine, strict=True) if not is_mine]
        outcomes: Sequence[Outcome] = ()
        answers: Sequence[AdmissionOutcome] = ()
        if ledgers or others or lacking:
            asked = [Admission([draw], self._deadline(admissions)) for draw in lacking]
            outcomes, answers = await self._store.admit(ledgers, [*others, *asked], now)
            for draw, answer in zip(lacking, answers[len(others) :], strict=True):
                self._hear(draw, answer, steady)
        rest = iter(answers)
        return outcomes, [
            self._answer(each, steady) if is_mine else next(rest)
            for each, is_mine in zip(admissions, mine, strict=True)
        ]

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

    def _lacking(self, admissions: Sequence[Admission], steady: float) -> list[Draw]:
        """Return what has to be leased so that a batch can be answered."""
        needs: dict[tuple[str, int], tuple[Draw, int]] = {}
        for draw in (draw for admission in admissions for draw in admission.draws):
            _, need = needs.get((draw.stem, draw.start), (draw, 0))
            needs[draw.stem, draw.start] = draw, need + draw.hits
        wanted = []
        for key, (draw, need) in needs.items():
            block = self._blocks.get(key)
            if block is None:
                block = self._blocks[key] = _Block(replace(draw, op=Op.LEASE, role=Role.SHADOW, id=""), max(1, need))
                self._begin_returning()
            elif block.left >= need and block.heard_at:
                continue
            elif block.granted and steady < block.ends_at - draw.terms.lease_ms / 2000:
                block.size = min(2 * block.size, draw.terms.lease_max)
            hits = max(need - block.left, min(block.size, draw.terms.lease_max))
            # Under the terms of now: a dynamic limit may have changed them.
            wanted.append(replace(block.draw, hits=hits, terms=draw.terms))
        return wanted

    def _hear(self, draw: Draw, answer: AdmissionOutcome, steady: float) -> None:
        block = self._blocks[draw.stem, draw.start]
        if isinstance(answer, StoreError):
            block.error = answer
            return
        standing = answer[0]
        granted = standing.after - standing.before
        block.left += granted
        block.granted += granted
        block.spent, block.reset_ms, block.heard_at, block.error = standing.after, standing.reset_ms, steady, None
        block.ends_at = steady + draw.terms.lease_ms / 1000
        self._taken.add()

    def _deadline(self, admissions: Sequence[Admission]) -> float:
        return max(admission.deadline for admission in admissions)

    # -- answering -----------------------------------------------------------------------------

    def _answer(self, admission: Admission, steady: float) -> AdmissionOutcome:
        """Answer out of blocks: all of a request, or nothing of it."""
        blocks = [self._blocks[draw.stem, draw.start] for draw in admission.draws]
        needs: dict[int, int] = {}
        over = []
        for draw, block in zip(admission.draws, blocks, strict=True):
            need = needs[id(block)] = needs.get(id(block), 0) + draw.hits
            is_over = need > block.left if draw.hits else _is_out(block, draw)
            if block.error is not None and (is_over or not block.heard_at):
                return block.error
            over.append(is_over)
        is_refused = any(over)
        self._answered.add()
        standings = []
        for draw, block, is_over in zip(admission.draws, blocks, over, strict=True):
            before = block.spent - block.left
            if not is_refused:
                block.left -= draw.hits
            passed_ms = int((steady - block.heard_at) * 1000)
            standings.append(Standing(before, block.spent - block.left, 0, is_over, max(0, block.reset_ms - passed_ms)))
        return standings

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
        ended = [(key, block) for key, block in self._blocks.items() if block.ends_at <= steady][:_RETURNED_AT_ONCE]
        for key, _ in ended:
            del self._blocks[key]
        returned = [replace(block.draw, op=Op.REFUND, hits=block.left) for _, block in ended if block.left]
        if not returned:
            return
        deadline = steady + _RETURN_TIMEOUT_SECONDS
        asked = [Admission([draw], deadline) for draw in returned]
        _, answers = await self._store.admit((), asked, self._clock.wall())
        for draw, answer in zip(returned, answers, strict=True):
            if isinstance(answer, StoreError):
                # They stay spent: less is let through than might be, never more.
                self._unreturned.add(draw.hits)


def _is_out(block: _Block, draw: Draw) -> bool:
    """Return whether a look finds its counter over, or exhausted where the rule asks for that."""
    spent = block.spent - block.left
    return spent >= draw.terms.capacity if draw.terms.is_exhausted else spent > draw.terms.capacity
