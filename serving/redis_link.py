"""One connection to Redis, shared by everybody who asks.

    send ──▶ write ──▶ [ oldest … newest ] waiting ◀── replies, in the order of the questions

1. Nobody holds the connection: a question is written at once, behind those that are under way, and
   its replies are the next ones not yet taken.
2. Who gives up leaves a place in the row: the replies that come for it are dropped.
3. Questions under way are bounded; beyond the bound they are refused at once.
4. Whether anything was written is always known. `NotSent`: it did not happen. `NoAnswer`: it may have.

Measured against the client of redis-py, 2 counters a call, CPU per batch in this process: a batch of
one call 18 µs (its 150), of 32 calls 100 µs (its 550); `bench/` keeps it honest.
"""

from __future__ import annotations

import asyncio
import select
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

import hiredis

# int, bytes, None, list of these; or ReplyError, as a value.
Reply: TypeAlias = Any
ReplyError = hiredis.ReplyError

_NOTHING = object()

# A server that went while nobody asked is seen before anything is written, though the loop has not been told yet:
# that call is not lost, only late. A microsecond, and only where nothing is under way.
_HANG_UP = getattr(select, "POLLRDHUP", 0)


class RedisFault(Exception):  # noqa: N818 - a family, named in one word
    """No reply. Carries no address: URLs may hold credentials."""


class NotSent(RedisFault):
    """Nothing was written, so nothing happened: it may be tried again."""


class Shed(NotSent):
    """Not even tried: the breaker is open, or too much is under way."""


class NoAnswer(RedisFault):
    """It was written and no answer came: it may have happened."""


class _Question:
    __slots__ = ("count", "future", "replies")

    def __init__(self, count: int, future: asyncio.Future[list[Reply]]) -> None:
        self.count = count
        self.future = future
        self.replies: list[Reply] = []


class Link(asyncio.Protocol):
    """Speaks RESP2 over a transport."""

    def __init__(
        self,
        in_flight_max: int,
        *,
        on_lost: Callable[[Link], None] | None = None,
        on_late: Callable[[], None] | None = None,
        on_push: Callable[[Reply], None] | None = None,
    ) -> None:
        """Take what to call when the connection is gone, a reply comes too late, or one comes that nobody asked for."""
        self._in_flight_max = in_flight_max
        self._on_lost = on_lost
        self._on_late = on_late
        self._on_push = on_push
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)
        self._waiting: deque[_Question] = deque()
        self._transport: asyncio.Transport | None = None
        self._is_retired = False
        self._hang_up = select.poll()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def in_flight(self) -> int:
        """Questions whose replies have not come, those given up included."""
        return len(self._waiting)

    def send(self, data: bytes, count: int) -> asyncio.Future[list[Reply]]:
        """Write `count` packed commands; the future holds their replies.

        Raises:
            NotSent: the connection is gone.
            Shed: too much is under way.
        """
        transport = self._transport
        if transport is None or transport.is_closing() or self._is_retired:
            raise NotSent("the connection was lost")
        if not self._waiting and self._hang_up.poll(0):
            self.abort()
            raise NotSent("the connection was lost")
        if len(self._waiting) >= self._in_flight_max:
            raise Shed("too many questions wait for Redis")
        question = _Question(count, asyncio.get_running_loop().create_future())
        self._waiting.append(question)
        transport.write(data)
        return question.future

    def abort(self) -> None:
        """Drop the connection; who waits gets `NoAnswer`."""
        if self._transport is not None:
            self._transport.abort()

    def retire(self) -> None:
        """Take no more questions, and close when those under way are answered; what comes late says nothing now."""
        self._is_retired, self._on_late = True, None
        if not self._waiting:
            self.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment]  # streams only
        self._hang_up.register(transport.get_extra_info("socket").fileno(), _HANG_UP)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody who waits."""
        del exc  # may name the address
        self._transport = None
        for question in self._waiting:
            if not question.future.done():
                question.future.set_exception(NoAnswer("the connection was lost before an answer came"))
        self._waiting.clear()
        self.lost.set_result(None)
        if self._on_lost is not None:
            self._on_lost(self)

    def data_received(self, data: bytes) -> None:
        """Hand out the replies in these bytes."""
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not _NOTHING:
                self._take(reply)
        except hiredis.ProtocolError:
            self.abort()

    def _take(self, reply: Reply) -> None:
        if not self._waiting:
            if self._on_push is None:
                raise hiredis.ProtocolError("a reply that nobody asked for")
            self._on_push(reply)
            return
        question = self._waiting[0]
        question.replies.append(reply)
        if len(question.replies) < question.count:
            return
        self._waiting.popleft()
        if not question.future.done():
            question.future.set_result(question.replies)
        elif self._on_late is not None:
            self._on_late()
        if self._is_retired and not self._waiting:
            self.abort()
