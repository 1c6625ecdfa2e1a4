"""Many calls over one stream: what waits goes out together, and comes back together.

    call ──▶ waiting ──┬── one message ──▶ service ──▶ one message ──▶ answered
    call ──▶ waiting ──┘                      │
                 ▲                            │ the stream breaks, or says nothing in time
                 └──── sent again ◀───────────┘ by a new stream

1. One message is under way at a time. While it is, calls gather for the next: the busier the caller, the larger its batches,
   and a lone call goes out at once.
2. Calls bear ids that count once, so what may have been counted may be sent again. What the service refuses is not.
3. Every wait has a bound: a call's is its own timeout, a message's that of its least patient call, and `in_flight_max` that of
   how many calls are under way. A new stream is waited for a little longer each time.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any

import grpc
from google.protobuf.message import Message

from protos.ratelimit.v1 import limiter_pb2 as wire
from ratelimit.client.values import AWAY, BROKEN, LimiterRefused
from ratelimit.client.verbs import Verbs

ATTEMPTS = 3
_PAUSE_SECONDS = 0.02
_PAUSE_MAX_SECONDS = 1.0

Stream = Any
"""grpc's call, which is not generic at run time."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A call under way."""

    call: wire.ExchangeRequest.Call
    timeout_seconds: float
    attempts: int = 0
    answered: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def end(self, answer: Message | LimiterRefused | None) -> None:
        """Have the caller go on."""
        if self.answered.done():
            return
        if isinstance(answer, LimiterRefused):
            self.answered.set_exception(answer)
        else:
            self.answered.set_result(answer)


class Exchange(Verbs):
    """The calls of `LimiterClient`, over a stream."""

    def __init__(self, open_stream: Callable[[], Stream], *, calls_max: int, in_flight_max: int, **verbs: Any) -> None:  # noqa: ANN401 - as of `Verbs`
        super().__init__(**verbs)
        self._open_stream = open_stream
        self._calls_max = calls_max
        self._room = asyncio.Semaphore(in_flight_max)
        self._ids = count(1)
        self._waiting: dict[int, _Waiting] = {}
        self._woken = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connect as soon as there is something to ask."""
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Let go of the stream; calls under way go unanswered."""
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running
        for waiting in self._waiting.values():
            waiting.end(None)

    async def ask(self, name: str, request: Message, timeout_seconds: float) -> Any:  # noqa: ANN401 - as of `Verbs`
        """Return the answer, or None where there is none in time."""
        try:
            async with asyncio.timeout(timeout_seconds), self._room:
                return await self._ask(name, request, timeout_seconds)
        except TimeoutError:
            return None

    async def _ask(self, name: str, request: Message, timeout_seconds: float) -> Any:  # noqa: ANN401 - as above
        number = next(self._ids)
        call = wire.ExchangeRequest.Call(id=number)
        getattr(call, name.lower()).CopyFrom(request)
        waiting = self._waiting[number] = _Waiting(call, timeout_seconds)
        self._woken.set()
        try:
            return await waiting.answered
        finally:
            self._waiting.pop(number, None)

    # -- the stream ----------------------------------------------------------------------------

    async def _run(self) -> None:
        pause = _PAUSE_SECONDS
        while True:
            await self._woken.wait()
            stream = self._open_stream()
            try:
                while True:
                    await self._turn(stream)
                    pause = _PAUSE_SECONDS
            except grpc.aio.AioRpcError as error:
                self._lose(error)
            except (TimeoutError, EOFError, asyncio.InvalidStateError):
                pass  # what waits is sent again, as long as its callers wait
            finally:
                stream.cancel()
            await asyncio.sleep(random.uniform(0.5, 1.0) * pause)  # noqa: S311 - spreads repetitions
            pause = min(2 * pause, _PAUSE_MAX_SECONDS)

    async def _turn(self, stream: Stream) -> None:
        """Send what waits, and hear the answers."""
        batch = list(islice(self._waiting.values(), self._calls_max))
        if not batch:
            self._woken.clear()
            await self._woken.wait()
            return
        async with asyncio.timeout(min(waiting.timeout_seconds for waiting in batch)):
            await stream.write(wire.ExchangeRequest(calls=[waiting.call for waiting in batch]))
            response = await stream.read()
        if response is grpc.aio.EOF:
            raise EOFError
        again = [answer.id for answer in response.answers if not self._hear(answer)]
        if again:
            await asyncio.sleep(_PAUSE_SECONDS)

    def _hear(self, answer: wire.ExchangeResponse.Answer) -> bool:
        """Hand an answer on; return False where the call is to be sent again."""
        waiting = self._waiting.get(answer.id)
        name = answer.WhichOneof("answer")
        if waiting is None or name is None:
            return True
        if name != "failure":
            self._waiting.pop(answer.id)
            waiting.end(getattr(answer, name))
            return True
        code = _code(answer.failure.code)
        waiting.attempts += 1
        if code in AWAY and waiting.attempts < ATTEMPTS:
            return False
        self._waiting.pop(answer.id)
        is_lost = code in AWAY or code in BROKEN
        waiting.end(None if is_lost else LimiterRefused(f"{code.name}: {answer.failure.detail}"))
        return True

    def _lose(self, error: grpc.aio.AioRpcError) -> None:
        """Have callers know where the next stream will be refused, too."""
        if error.code() in AWAY | BROKEN:
            return
        for number, waiting in list(self._waiting.items()):
            waiting.end(LimiterRefused(f"{error.code().name}: {error.details()}"))
            self._waiting.pop(number)


_CODES: Sequence[grpc.StatusCode] = tuple(grpc.StatusCode)


def _code(number: int) -> grpc.StatusCode:
    return next((code for code in _CODES if code.value[0] == number), grpc.StatusCode.UNKNOWN)
