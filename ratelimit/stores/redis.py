"""Counters in Redis: one write per batch, whatever the number of ledgers and charges.

    ledgers ─ deal ─▶ shares by place ─ one script call each ─▶ one write per node ─▶ answers ─ gather ─▶ outcomes

1. On one server a batch is one script call (REDIS_PIPELINE_LEDGERS_MAX ledgers in each); in a cluster one
   call per slot, those for one node in one write; limits per second go to their own server, at the same time.
2. A ledger whose counters share a place is atomic. One that spans places is so in each of them only; under
   STOP it is then looked up first and written after (`Forecast`), as the reference does.
3. Without scripts (twemproxy, Envoy's redis_proxy) the same ledgers are plain commands (`redis_pipeline`).
4. A refund is told to all replicas on a channel, by the script that makes it, if anybody here wants to hear
   of refunds. Who was away then keeps a counter for exhausted at most until its window ends.
5. The batch is answered when its last ledger is, at the longest deadline in it; what is known by then is told,
   also to ledgers whose own deadline has passed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from ratelimit.draw import Draw
from ratelimit.errors import StoreError, StoreRefused, StoreTimeout, StoreUnavailable
from ratelimit.store import HOLDS_MAX, Admission, AdmissionOutcome, Charge, HoldsPage, Ledger, Outcome, Policy
from ratelimit.stores import redis_admit, redis_holds, redis_pipeline, redis_script
from ratelimit.stores.forecast import Forecast
from ratelimit.stores.redis_admit import AdmissionShare
from ratelimit.stores.redis_script import ScriptCalls
from ratelimit.stores.shares import Place, Share, deal, gather
from serving.clock import Clock
from serving.metrics import Registry
from serving.redis_client import RedisClient, together
from serving.redis_link import NotSent, ReplyError
from serving.redis_node import Command
from serving.settings import PerSecondRedisSettings, RedisSettings

_log = logging.getLogger(__name__)

CHANNEL = "ratelimit:local_cache_invalidation"

_LATE = StoreUnavailable("the deadline had passed before it was sent")
_NO_SCRIPTS = StoreRefused("a rule needs scripts, which this Redis does not run (REDIS_SCRIPTS)")

_Any = TypeVar("_Any", Outcome, AdmissionOutcome)

_KINDS: dict[type[StoreError], str] = {
    StoreTimeout: "timeout",
    StoreUnavailable: "unavailable",
    StoreRefused: "refused",
}


class _Server:
    """One Redis, of whatever mode, and how it is spoken to."""

    def __init__(self, settings: RedisSettings, registry: Registry, clock: Clock, pool: str) -> None:
        self.client = RedisClient(settings, registry, clock, pool=pool)
        self.calls = ScriptCalls(settings.pipeline_ledgers_max)
        self.has_scripts = has_scripts(settings)
        self._is_sure = settings.scripts != "auto"
        self._timeout = settings.timeout
        self._clock = clock

    async def start(self) -> None:
        """Connect, and find out what it can."""
        await self.client.start()
        if self.has_scripts and not self._is_sure:
            probe = Command(("EVAL", "return 1", 0))
            await self.client.run([probe], self._clock.steady() + self._timeout)
            self.has_scripts = not isinstance(probe.reply, ReplyError)
        if self.has_scripts:  # a proxy may hang up at INFO
            await self.client.warn_of_evictions()
        else:
            _log.warning("Redis is used without scripts: INCRBY and EXPIRE in a pipeline")

    async def apply(
        self,
        shares: Mapping[int, Sequence[Share]],
        admissions: Mapping[int, Sequence[AdmissionShare]],
        common: tuple[str, int, int],
        deadline: float,
    ) -> None:
        """Write what each slot has, all at once, and put the answers into the shares."""
        channel, _, _ = common
        if self.has_scripts:
            calls = [call for slot, mine in shares.items() for call in self.calls.write(slot, mine, channel)]
            asks = [
                ask
                for slot, its in admissions.items()
                for ask in redis_admit.write(
                    slot, its, common, self.calls.ledgers_max, is_cluster=self.client.is_cluster
                )
            ]
            await self.client.run([command for command, _ in (*calls, *asks)], deadline)
            for command, mine in calls:
                redis_script.read(command, mine)
            for command, its in asks:
                redis_admit.read(command, its)
            return
        written = [(share, redis_pipeline.write(slot, share)) for slot, mine in shares.items() for share in mine]
        await self.client.run([command for _, commands in written for command in commands], deadline)
        for share, commands in written:
            redis_pipeline.read(iter([command.reply for command in commands]), share)


class RedisStore:
    """Counts in Redis, or Valkey."""

    def __init__(
        self,
        redis: RedisSettings,
        per_second: PerSecondRedisSettings | None,
        registry: Registry,
        clock: Clock,
        *,
        holds_max: int = HOLDS_MAX,
        is_timed_by_caller: bool = False,
    ) -> None:
        """With `is_timed_by_caller` holds, buckets and sliding windows go by `now` instead of the server's clock."""
        self._holds_max = holds_max
        self._is_timed_by_caller = is_timed_by_caller
        self._servers = [_Server(redis, registry, clock, "redis_pool")]
        if per_second is not None:
            self._servers.append(_Server(per_second, registry, clock, "redis_per_second_pool"))
        self._registry = registry
        self._clock = clock
        self._forget: list[Callable[[str], None]] = []
        self._channel = ""
        self._is_started = False

    async def start(self) -> None:
        """Connect to every server.

        Raises:
            StoreUnavailable: one was not reached within REDIS_STARTUP_MAX_ELAPSED_TIME.
        """
        try:
            await asyncio.gather(*(server.start() for server in self._servers))
        except NotSent as fault:
            raise StoreUnavailable(str(fault)) from None
        self._is_started = True
        self._listen()

    async def stop(self) -> None:
        """Let go of the connections."""
        await asyncio.gather(*(server.client.stop() for server in self._servers))

    @property
    def is_healthy(self) -> bool:
        """Whether every server was reached and answers."""
        return all(server.client.is_healthy for server in self._servers)

    def on_refund(self, forget: Callable[[str], None]) -> None:
        """Have `forget(key)` called when any replica refunds a counter."""
        self._forget.append(forget)
        self._listen()

    async def charge(self, ledgers: Sequence[Ledger], now: float) -> Sequence[Outcome]:
        """Apply every ledger; time is the caller's, and in the keys."""
        if self._is_one_place:
            return self._counted(await self._charge_here(ledgers, now))
        return (await self.admit(ledgers, (), now))[0]

    async def admit(
        self, ledgers: Sequence[Ledger], admissions: Sequence[Admission], now: float
    ) -> tuple[Sequence[Outcome], Sequence[AdmissionOutcome]]:
        """Apply every ledger and every admission in one round trip."""
        if not ledgers and self._is_one_place:
            return (), self._counted(await self._admit_here(admissions, now))
        steady = self._clock.steady()
        outcomes: list[Outcome] = [_LATE] * len(ledgers)
        answers: list[AdmissionOutcome] = [_LATE] * len(admissions)
        due = [(origin, ledger) for origin, ledger in enumerate(ledgers) if ledger.deadline > steady]
        wanted = [share for share in self._runs(admissions) if share.admission.deadline > steady]
        if not due and not wanted:
            return self._counted(outcomes), self._counted(answers)
        deadline = max([ledger.deadline for _, ledger in due] + [share.admission.deadline for share in wanted])
        forecast = await self._look([ledger for _, ledger in due if self._must_look(ledger)], deadline)
        dealt: dict[int, list[Share]] = {}
        places: dict[Place, list[Share]] = {}
        for origin, ledger in due:
            settled = self._settle(forecast, ledger)
            if isinstance(settled, StoreError):
                outcomes[origin] = settled
                continue
            for place, share in self._deal(origin, settled).items():
                dealt.setdefault(origin, []).append(share)
                places.setdefault(place, []).append(share)
        parted, stands = self._part(wanted, answers)
        await self._apply(places, stands, now, deadline)
        for origin, shares in dealt.items():
            outcomes[origin] = gather(ledgers[origin], shares)
        for origin, parts in parted.items():
            answers[origin : origin + parts[0].times] = redis_admit.gather(admissions[origin], parts)
        return self._counted(outcomes), self._counted(answers)

    async def holds(self, draw: Draw, *, cursor: str, most: int, now: float, deadline: float) -> HoldsPage | StoreError:
        """Return holds of a counter; `now` matters where time is the caller's."""
        server, slot = self._stand_of(draw)
        commands = redis_holds.write(slot, draw, cursor, most)
        await self._servers[server].client.run(commands, deadline)
        return redis_holds.read(commands, int(now * 1000) if self._is_timed_by_caller else 0)

    @property
    def _is_one_place(self) -> bool:
        """Whether one script call reaches every counter."""
        server = self._servers[0]
        return len(self._servers) == 1 and server.has_scripts and not server.client.is_cluster

    async def _charge_here(self, ledgers: Sequence[Ledger], now: float) -> Sequence[Outcome]:
        """Do what `admit` does where there is nothing to look up and nothing to deal out, for half of its time."""
        steady = self._clock.steady()
        outcomes: list[Outcome] = [_LATE] * len(ledgers)
        shares = [Share(origin, ledger) for origin, ledger in enumerate(ledgers) if ledger.deadline > steady]
        if shares:
            deadline = max([share.ledger.deadline for share in shares])
            await self._servers[0].apply({0: shares}, {}, self._common(now), deadline)
        for share in shares:
            outcomes[share.origin] = share.outcome
        return outcomes

    async def _admit_here(self, admissions: Sequence[Admission], now: float) -> Sequence[AdmissionOutcome]:
        """Do what `admit` does where there is nothing to look up, nothing to deal out and no ledger."""
        steady = self._clock.steady()
        shares = list(self._runs(admissions))
        due = [share for share in shares if share.admission.deadline > steady]
        if due:
            deadline = max([share.admission.deadline for share in due])
            await self._servers[0].apply({}, {0: due}, self._common(now), deadline)
        return [outcome for share in shares for outcome in share.outcomes or [_LATE] * share.times]

    def _runs(self, admissions: Sequence[Admission]) -> Iterator[AdmissionShare]:
        return redis_admit.runs(admissions, min(server.calls.ledgers_max for server in self._servers))

    def _part(
        self, wanted: Sequence[AdmissionShare], answers: list[AdmissionOutcome]
    ) -> tuple[Mapping[int, Sequence[AdmissionShare]], Mapping[Place, Sequence[AdmissionShare]]]:
        """Deal admissions out: by their origin, and by their place."""
        parted: dict[int, list[AdmissionShare]] = {}
        stands: dict[Place, list[AdmissionShare]] = {}
        if self._is_one_place:
            return {share.origin: [share] for share in wanted}, {(0, 0): wanted} if wanted else {}
        for whole in wanted:
            origin = whole.origin
            shares = redis_admit.deal(whole, self._stand_of)
            if not all(server.has_scripts for server in self._servers):
                shares = _NO_SCRIPTS
            if isinstance(shares, StoreError):
                answers[origin : origin + whole.times] = [shares] * whole.times
                continue
            for place, share in shares.items():
                parted.setdefault(origin, []).append(share)
                stands.setdefault(place, []).append(share)
        return parted, stands

    def _stand_of(self, draw: Draw) -> Place:
        server = 1 if draw.is_per_second and len(self._servers) > 1 else 0
        return server, self._servers[server].client.slot_of(draw.stem)

    def _counted(self, outcomes: Sequence[_Any]) -> Sequence[_Any]:
        for outcome in outcomes:
            if isinstance(outcome, StoreError):
                self._registry.counter("ratelimit.store.errors", kind=_KINDS[type(outcome)]).add()
        return outcomes

    def _deal(self, origin: int, ledger: Ledger) -> dict[Place, Share]:
        if len(self._servers) == 1 and not self._servers[0].client.is_cluster:
            return {(0, 0): Share(origin, ledger)}
        return deal(origin, ledger, self._place_of)

    def _place_of(self, charge: Charge) -> Place:
        server = self._server_of(charge)
        return server, self._servers[server].client.slot_of(charge.key)

    def _server_of(self, charge: Charge) -> int:
        return 1 if charge.is_per_second and len(self._servers) > 1 else 0

    def _is_plain(self, charge: Charge) -> bool:
        return not self._servers[self._server_of(charge)].has_scripts

    def _must_look(self, ledger: Ledger) -> bool:
        """Whether no script can decide this ledger."""
        if ledger.policy is Policy.STOP and len(self._deal(0, ledger)) > 1:
            return True
        return any(
            (charge.is_refund or ledger.policy is Policy.STOP) and self._is_plain(charge) for charge in ledger.charges
        )

    async def _look(self, ledgers: Sequence[Ledger], deadline: float) -> Forecast | None:
        if not ledgers:
            return None
        forecast = Forecast()
        looks: dict[int, dict[str, Command]] = {}
        for charge in (charge for ledger in ledgers for charge in ledger.charges):
            server, slot = self._place_of(charge)
            looks.setdefault(server, {})[charge.key] = Command(("GET", charge.key), slot)
        await together(
            [self._servers[server].client.run(list(mine.values()), deadline) for server, mine in looks.items()]
        )
        for key, command in ((key, command) for mine in looks.values() for key, command in mine.items()):
            forecast.learn(key, command.reply)
        return forecast

    def _settle(self, forecast: Forecast | None, ledger: Ledger) -> Ledger | StoreError:
        if forecast is None:
            return ledger
        if self._must_look(ledger):
            return forecast.settle(ledger, self._is_plain)
        forecast.expect(ledger)
        return ledger

    async def _apply(
        self,
        places: Mapping[Place, Sequence[Share]],
        stands: Mapping[Place, Sequence[AdmissionShare]],
        now: float,
        deadline: float,
    ) -> None:
        plain: dict[int, dict[int, Sequence[Share]]] = {}
        own: dict[int, dict[int, Sequence[AdmissionShare]]] = {}
        for (server, slot), shares in places.items():
            plain.setdefault(server, {})[slot] = shares
        for (server, slot), parts in stands.items():
            own.setdefault(server, {})[slot] = parts
        common = self._common(now)
        await together(
            [
                self._servers[server].apply(plain.get(server, {}), own.get(server, {}), common, deadline)
                for server in {**plain, **own}
            ]
        )

    def _common(self, now: float) -> tuple[str, int, int]:
        """Return what every call of a script takes."""
        return self._channel, int(now * 1000) if self._is_timed_by_caller else 0, self._holds_max

    def _listen(self) -> None:
        """Subscribe once, when both somebody wants to hear and the servers were reached."""
        if not self._forget or not self._is_started or self._channel:
            return
        self._channel = CHANNEL
        for server in self._servers:
            if server.has_scripts:
                server.client.subscribe(CHANNEL, self._hear)

    def _hear(self, message: bytes) -> None:
        key = message.decode(errors="replace")
        for forget in self._forget:
            forget(key)


def has_scripts(settings: RedisSettings) -> bool:
    """Return whether scripts may be tried; `auto` finds out when it connects."""
    return not (settings.scripts == "off" or (settings.scripts == "auto" and _is_nutcracker(settings)))


def _is_nutcracker(settings: RedisSettings) -> bool:
    return settings.socket_type == "unix" and "nutcracker" in settings.url.get_secret_value()
