"""Gathers single calls into batches for a handler.

    ask ──▶ FairQueue ── as many as wait, up to a cap ──▶ handler ──▶ each caller its reply

1. Nobody waits for company. A run begins as soon as the callbacks that are ready have had their
   turn, with whatever has arrived by then; while all runs are busy, calls gather.
2. Work that cannot reach its caller is not done: a call that was cancelled leaves the queue, one
   whose deadline passed in it is answered DEADLINE_EXCEEDED.
3. The queue is bounded and fair between connections; who has to leave gets RESOURCE_EXHAUSTED.
4. A run belongs to all its calls: a caller that gives up does not cancel it. A handler that raises
   or miscounts its replies fails that batch with INTERNAL and nothing else.
5. A reply that is a future is its call's alone: the run goes on without it, and a caller that gives up cancels it.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from serving.calls import Call, Failure, Handler, Later, Reply, StatusCode
from serving.clock import Clock
from serving.fair_queue import FairQueue
from serving.metrics import Registry

_LOG = logging.getLogger(__name__)

_FULL = Failure(StatusCode.RESOURCE_EXHAUSTED, "too many calls are waiting")
_LATE = Failure(StatusCode.DEADLINE_EXCEEDED, "deadline exceeded before the call was looked at")
_BROKEN = Failure(StatusCode.INTERNAL, "internal error")
_GONE = Failure(StatusCode.CANCELLED, "no longer waited for")


@dataclass(slots=True, eq=False)
class Waiting(ABC):
    """A call in the queue and who waits for its reply; each is itself only, however equal its call."""

    call: Call
    later: Later | None = field(default=None, kw_only=True)
    """A reply that is still waited for."""

    @property
    @abstractmethod
    def is_gone(self) -> bool:
        """Whether nobody waits for a reply any more: it was given, or the caller has left."""

    @abstractmethod
    def give(self, reply: Reply) -> None:
        """Deliver a reply, if somebody still waits for it."""


@dataclass(slots=True, eq=False)
class _Asked(Waiting):
    """A call whose caller is a task: it may have been cancelled in this very turn of the loop, and not have run since."""

    reply: asyncio.Future[Reply] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def is_gone(self) -> bool:
        """Whether the task was cancelled, or has its reply."""
        return self.reply.done()

    def give(self, reply: Reply) -> None:
        """Wake the task."""
        if not self.reply.done():
            self.reply.set_result(reply)


_Batch: TypeAlias = list[Waiting]


class Batches:
    """The queue and the runs of one handler."""

    def __init__(  # noqa: PLR0913 - what it works with, and the bounds of one queue
        self,
        handler: Handler,
        clock: Clock,
        registry: Registry,
        *,
        calls_max: int,
        batch_max: int,
        in_flight_max: int,
        method: str = "",
    ) -> None:
        self._handler = handler
        self._clock = clock
        self._queue: FairQueue[Waiting] = FairQueue(calls_max)
        self._batch_max = batch_max
        self._in_flight_max = in_flight_max
        self._runs: set[asyncio.Task[None]] = set()
        self._later: set[Waiting] = set()
        self._is_starting = False
        labels = {"method": method} if method else {}
        self._rejected = registry.counter("weir.calls.rejected", **labels)
        self._expired = registry.counter("weir.calls.expired", **labels)
        self._cancelled = registry.counter("weir.calls.cancelled", **labels)
        self._failed = registry.counter("weir.calls.failed", **labels)
        self._calls = registry.counter("weir.batch.calls", **labels)
        self._batches = registry.counter("weir.batch.total", **labels)
        registry.gauge("weir.queue.length", lambda: len(self._queue), **labels)
        registry.gauge("weir.batch.in_flight", lambda: len(self._runs), **labels)

    async def ask(self, call: Call) -> Reply:
        """Answer one call; its deadline is looked at before work begins, not during it."""
        asked = _Asked(call)
        self.submit(asked)
        try:
            return await asked.reply
        except asyncio.CancelledError:
            self.drop(asked)
            raise

    def submit(self, waiting: Waiting) -> None:
        """Queue a call; its reply may be given before this returns, where there is no room for it."""
        loser = self._queue.put(waiting.call.caller.peer, waiting)
        if loser is not None:
            self._rejected.add()
            loser.give(_FULL)
        self._start()

    def drop(self, waiting: Waiting) -> None:
        """Forget a call whose caller has gone: it is not worked on if it has not begun."""
        self._cancelled.add()
        if waiting.later is not None:
            waiting.later.cancel()
        self._queue.remove(waiting.call.caller.peer, waiting)

    async def stop(self) -> None:
        """Cancel what still runs and wait for its end; to be called when nobody waits for it any more."""
        left: list[asyncio.Future[Any]] = [*self._runs, *(each.later for each in self._later if each.later is not None)]
        for each in left:
            each.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _start(self) -> None:
        # One at a time: a second run is begun by the first, if that leaves calls behind.
        if self._is_starting or not self._queue or len(self._runs) >= self._in_flight_max:
            return
        self._is_starting = True
        self._runs.add(asyncio.create_task(self._run()))

    async def _run(self) -> None:
        self._is_starting = False
        try:
            while batch := self._gather():
                self._start()
                await self._work(batch)
        finally:
            # Here and not when the task is done: a call that comes between the two must see that nobody works.
            self._runs.discard(asyncio.current_task())

    def _gather(self) -> _Batch:
        now = self._clock.steady()
        batch: _Batch = []
        while self._queue and not batch:
            for waiting in self._take():
                if waiting.is_gone:
                    continue
                if waiting.call.deadline > now:
                    batch.append(waiting)
                else:
                    self._expired.add()
                    waiting.give(_LATE)
        return batch

    def _take(self) -> list[Waiting]:
        if len(self._queue) <= self._batch_max:
            return self._queue.take_all()
        return [self._queue.take() for _ in range(self._batch_max)]

    async def _work(self, batch: _Batch) -> None:
        self._batches.add()
        self._calls.add(len(batch))
        try:
            replies = await self._handler([waiting.call for waiting in batch])
            if len(replies) != len(batch):
                raise ValueError(f"{len(replies)} replies to {len(batch)} calls")  # noqa: TRY301 - one place answers both
        except (Exception, asyncio.CancelledError):
            self._failed.add(len(batch))
            for waiting in batch:
                waiting.give(_BROKEN)
            # A handler may be cancelled from within, which is its own failure; the run, only by a loop that ends.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            _LOG.exception("a handler failed a batch of %d calls", len(batch))
        else:
            for waiting, reply in zip(batch, replies, strict=True):
                if isinstance(reply, asyncio.Future):
                    self._wait_for(waiting, reply)
                else:
                    waiting.give(reply)

    def _wait_for(self, waiting: Waiting, later: Later) -> None:
        waiting.later = later
        self._later.add(waiting)
        later.add_done_callback(lambda _: self._end(waiting, later))
        if waiting.is_gone:
            later.cancel()

    def _end(self, waiting: Waiting, later: Later) -> None:
        self._later.discard(waiting)
        if later.cancelled():
            waiting.give(_GONE)
        elif (error := later.exception()) is not None:
            self._failed.add()
            _LOG.error("a handler failed a call that it answers later", exc_info=error)
            waiting.give(_BROKEN)
        else:
            waiting.give(later.result())
