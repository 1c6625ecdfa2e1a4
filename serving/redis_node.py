"""One Redis server: a link that mends itself, behind a breaker.

              send                 lost, refused, no answer (n in a row)
    LINKED ◀───────▶ LINKING ──────────────▶ OPEN: calls fail at once
      ▲                                       │
      └────── a probe is answered ────────────┘ every probe interval

1. There is one attempt to connect at a time, whoever needs it, and it outlives who waits for it.
2. As soon as the link is lost it is mended in the background: the next call finds a link, not an EOF,
   and health learns of an outage without a call.
3. What counts as failure: no connection, no answer within a call's deadline, and answers of a server
   that is not ready. Any other answer, late ones too, is a success.
4. A probe is a PING; after a server said that it is not ready, it is a write that changes nothing: a
   replica and a cluster that is down answer PING, too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import hiredis

from serving.breaker import Breaker
from serving.clock import Clock
from serving.metrics import Counter, Registry
from serving.redis_link import Link, NoAnswer, NotSent, RedisFault, Reply, ReplyError, Shed

_log = logging.getLogger(__name__)

# Codes of a server that did nothing and will be ready, or replaced, before long.
AWAY = frozenset({"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "BUSY"})

# A probe is answered in a round trip or not at all.
_PROBE_TIMEOUT_SECONDS = 1.0

_PING = ("PING",)
_WRITE = ("DEL", "weir:probe")

# Answers to a probe that say no less than its reply: there is somebody, who takes writes or knows who does.
_ANSWERS = frozenset({"", "NOPERM", "MOVED", "ASK", "TRYAGAIN"})

_ASKING = hiredis.pack_command(("ASKING",))


@dataclass(slots=True)
class Script:
    """A script, called by its digest until a server does not know it."""

    digest: str
    body: str


# Not frozen: filled in place, so that a batch of them needs no second list.
@dataclass(slots=True)
class Command:
    """One command, and what came of it."""

    args: tuple[str | bytes | int, ...]
    slot: int = 0
    script: Script | None = None
    asked_at: tuple[str, int] | None = None
    """The node of a cluster that said it takes this command, this once."""
    reply: Reply = None
    """A reply, a `ReplyError` or a `RedisFault`."""

    def pack(self) -> bytes:
        """Return it as it goes over the wire."""
        packed: bytes = hiredis.pack_command(self.args)  # type: ignore[arg-type]  # its stub knows no longer tuples
        return _ASKING + packed if self.asked_at else packed


def code(reply: Reply) -> str:
    """Return the first word of an error, which says its kind; nothing for other replies."""
    return str(reply).split(" ", 1)[0] if isinstance(reply, ReplyError) else ""


class RedisMetrics:
    """What a pool counts, under the reference's names and our own."""

    def __init__(self, registry: Registry, pool: str) -> None:
        self._registry = registry
        self._pool = pool
        self.connected = registry.counter(f"ratelimit.{pool}.cx_total")
        self.closed_here = registry.counter(f"ratelimit.{pool}.cx_local_close")

    def error(self, kind: str) -> Counter:
        """Return the counter of errors of a kind."""
        return self._registry.counter(f"ratelimit.{self._pool}.errors", kind=kind)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long, how often, how many."""

    timeout_seconds: float
    breaker_failures: int
    probe_interval_seconds: float
    in_flight_max: int


Dial = Callable[[Callable[[], Link]], Awaitable[Link]]


class Node:
    """Asks one server."""

    def __init__(self, dial: Dial, bounds: Bounds, clock: Clock, metrics: RedisMetrics) -> None:
        self._dial = dial
        self._bounds = bounds
        self._clock = clock
        self._metrics = metrics
        self._breaker = Breaker(bounds.breaker_failures)
        self._link: Link | None = None
        self._retired: Link | None = None
        """The link before, where answers still come on it; one, for a second takes its place."""
        self._linking: asyncio.Task[None] | None = None
        self._mending: asyncio.Task[None] | None = None
        self._is_stopped = False
        self._why = "no connection to Redis"
        self._probe: tuple[str, ...] = _PING
        self.was_reached = False

    @property
    def is_linked(self) -> bool:
        """Whether there is a connection now."""
        return self._link is not None

    @property
    def is_open(self) -> bool:
        """Whether the breaker is open: calls fail at once."""
        return self._breaker.is_open

    @property
    def in_flight(self) -> int:
        """Questions under way."""
        return self._link.in_flight if self._link is not None else 0

    async def send(self, commands: Sequence[Command], deadline: float) -> None:
        """Write all commands at once, and put a reply or a fault into each; never raises."""
        try:
            if self._breaker.is_open:
                raise Shed(f"{self._why}; calls fail at once until Redis answers")
            replies = await self._ask(commands, deadline)
        except RedisFault as fault:
            for command in commands:
                command.reply = fault
            return
        coming = iter(replies)
        for command in commands:
            if command.asked_at:
                next(coming)
            command.reply = next(coming)
        self._judge(commands)

    async def ping(self) -> bool:
        """Ask whether it answers, breaker or not."""
        command = Command(self._probe)
        try:
            (command.reply,) = await self._ask([command], self._clock.steady() + self._probe_timeout)
        except RedisFault:
            return False
        self._judge([command])
        return code(command.reply) in _ANSWERS

    def retire(self) -> None:
        """Ask elsewhere from now on, and let what is under way be answered here."""
        link = self._link
        if link is not None:
            self._metrics.closed_here.add()
            if self._retired is not None:
                self._retired.abort()
            self._link, self._retired = None, link
            link.retire()
            self._mend()

    def drop(self) -> None:
        """Let the connection go: another server may stand behind the address now."""
        if self._link is not None:
            self._metrics.closed_here.add()
            self._link.abort()

    async def stop(self) -> None:
        """Close the connection and what runs in the background."""
        self._is_stopped = True
        tasks = [task for task in (self._linking, self._mending) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for link in (self._link, self._retired):
            if link is not None:
                link.abort()
                await link.lost

    @property
    def _probe_timeout(self) -> float:
        return min(self._bounds.timeout_seconds, max(_PROBE_TIMEOUT_SECONDS, self._bounds.probe_interval_seconds))

    async def _ask(self, commands: Sequence[Command], deadline: float) -> list[Reply]:
        link = self._link or await self._connect(deadline)
        data = b"".join([command.pack() for command in commands])
        count = len(commands) + sum(command.asked_at is not None for command in commands)
        future = link.send(data, count)
        asked = self._clock.steady()
        timer = asyncio.get_running_loop().call_later(deadline - asked, _give_up, future)
        try:
            return await future
        except NoAnswer:
            self._fail("no_answer", "no answer from Redis")
            if self._clock.steady() - asked >= self._bounds.timeout_seconds:
                self.drop()
            raise
        finally:
            timer.cancel()

    async def _connect(self, deadline: float) -> Link:
        if self._is_stopped:
            raise Shed("Redis is being let go")
        if self._linking is None:
            self._linking = asyncio.create_task(self._open())
        await asyncio.wait((self._linking,), timeout=max(0.0, deadline - self._clock.steady()))
        if self._link is None:
            raise NotSent(self._why)
        return self._link

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(self._bounds.timeout_seconds):
                link = await self._dial(self._make_link)
        except RedisFault as fault:
            self._fail("no_connection", str(fault))
        except (OSError, TimeoutError):  # their texts name the address
            self._fail("no_connection", "no connection to Redis")
        else:
            self._link = link
            self._metrics.connected.add()
            self.was_reached = True
        finally:
            self._linking = None

    def _make_link(self) -> Link:
        return Link(self._bounds.in_flight_max, on_lost=self._lose, on_late=self._breaker.succeed)

    def _lose(self, link: Link) -> None:
        if link is self._link:
            self._link = None
            self._mend()

    def _judge(self, commands: Sequence[Command]) -> None:
        codes = {code(command.reply) for command in commands if isinstance(command.reply, ReplyError)}
        if codes & AWAY:
            self._probe = _WRITE
            self._fail("not_ready", next(str(command.reply) for command in commands if code(command.reply) in AWAY))
        else:
            self._succeed()
        if "READONLY" in codes:
            self.retire()

    def _succeed(self) -> None:
        if self._breaker.is_open:
            _log.warning("Redis answers again")
        self._probe = _PING
        self._breaker.succeed()

    def _fail(self, kind: str, why: str) -> None:
        self._why = why
        self._metrics.error(kind).add()
        was_open = self._breaker.is_open
        self._breaker.fail()
        if not self._breaker.is_open:
            return
        if not was_open:
            _log.warning("%s: calls fail at once until Redis answers", why)
        if kind == "not_ready":
            # It answers, and its no is worth more than not to know.
            self.retire()
        else:
            # What is under way on it would be answered too late, and what comes next must not stand behind it.
            self.drop()
        self._mend()

    def _mend(self) -> None:
        if self._mending is None and not self._is_stopped:
            self._mending = asyncio.create_task(self._keep_mending())

    async def _keep_mending(self) -> None:
        while not await self.ping():  # noqa: ASYNC110 - it asks somebody else, no event tells
            await asyncio.sleep(self._bounds.probe_interval_seconds)
        self._mending = None


def _give_up(future: asyncio.Future[list[Reply]]) -> None:
    if not future.done():
        future.set_exception(NoAnswer("no answer from Redis in time"))
