"""Asks Redis, whatever its mode: one server, the master that sentinels name, or a cluster.

    run(commands) ─▶ by node ─▶ one write each ─▶ replies
          ▲                                         │ surely did not happen, and worth it
          └──────────── after a pause ◀─────────────┘

1. All commands for one node go out in one write, in their order; all nodes are asked at the same time.
2. What surely did not happen is tried again until the deadline, or until a breaker opens: no connection,
   a server that loads or only reads, a slot that moved, a script that is not known.
3. What may have happened is never tried again.
4. Nobody waits longer than the deadline given, or than REDIS_TIMEOUT.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence

from serving.clock import Clock
from serving.metrics import Registry
from serving.redis import Address, Door, slot_of
from serving.redis_cluster import Cluster
from serving.redis_link import Link, NotSent, Reply, ReplyError, Shed
from serving.redis_node import AWAY, Bounds, Command, Dial, Node, RedisMetrics, code
from serving.redis_subscription import Subscription
from serving.settings import RedisSettings
from serving.spans import STEPS, Step

_log = logging.getLogger(__name__)

# The reference's name for the span.
STEP = "Redis Pipeline Execution"

# What sentinels say when a master is another: its name, the old address, the new one. Unheard, an old master that lives
# on is left only when it says READONLY, which took 11 s in tests/contract/test_redis_access.py.
_SWITCHED = "+switch-master"

# Short enough for several tries within Envoy's 20 ms, doubled until a restart of Redis is bridged.
_PAUSE_SECONDS = 0.004
_PAUSE_MAX_SECONDS = 0.1

# Answers that say where to ask instead are followed at once, unless they send us round in circles.
_REDIRECTS_AT_ONCE = 3

# Keys of one command are in two places while their slot is on its way: a moment, or as long as a resharding pauses. What else
# is in the batch does not wait for longer than these take.
_SPLIT_ATTEMPTS = 5


class RedisClient:
    """Connections to one Redis; stores and leases share it."""

    def __init__(self, settings: RedisSettings, registry: Registry, clock: Clock, *, pool: str = "redis_pool") -> None:
        self._settings = settings
        self._clock = clock
        self._door = Door(settings)
        self._metrics = RedisMetrics(registry, pool)
        self._bounds = Bounds(
            settings.timeout, settings.breaker_failures, settings.breaker_probe_interval, settings.in_flight_max
        )
        self._cluster: Cluster | None = None
        self._node: Node | None = None
        if self._door.kind == "CLUSTER":
            self._cluster = Cluster(self._door.addresses, self._make_node_at, clock)
        else:
            self._node = Node(self._door.open, self._bounds, clock, self._metrics)
        self._subscriptions: list[Subscription] = []
        registry.gauge(f"ratelimit.{pool}.cx_active", lambda: sum(node.is_linked for node in self._nodes))
        registry.gauge(f"ratelimit.{pool}.breakers_open", lambda: sum(node.is_open for node in self._nodes))
        registry.gauge(f"ratelimit.{pool}.in_flight", lambda: sum(node.in_flight for node in self._nodes))

    @property
    def is_cluster(self) -> bool:
        """Whether keys of one script must share a slot."""
        return self._cluster is not None

    @property
    def is_healthy(self) -> bool:
        """Whether it was reached, and every node answers."""
        nodes = self._nodes
        return any(node.was_reached for node in nodes) and not any(node.is_open for node in nodes)

    def slot_of(self, key: str) -> int:
        """Return where a key lives; one place for all where there is no cluster."""
        return slot_of(key) if self._cluster is not None else 0

    async def start(self) -> None:
        """Connect, with growing pauses between attempts.

        Raises:
            NotSent: REDIS_STARTUP_MAX_ELAPSED_TIME is over.
        """
        settings = self._settings
        pause = settings.startup_initial_interval
        started = self._clock.steady()
        while not await self._is_reached():
            elapsed = self._clock.steady() - started
            if settings.startup_max_elapsed_time and elapsed + pause > settings.startup_max_elapsed_time:
                patience = settings.startup_max_elapsed_time
                raise NotSent(f"Redis was not reached within {patience:g} s (REDIS_STARTUP_MAX_ELAPSED_TIME)")
            _log.warning("Redis is not reached yet; the next attempt is in %.1f s", pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, settings.startup_max_interval)
        if self._door.master:
            self._listen(self._door.open_sentinel, _SWITCHED, self._leave_old_master)

    async def stop(self) -> None:
        """Close every connection; what is under way gets `NoAnswer`."""
        for subscription in self._subscriptions:
            await subscription.stop()
        if self._cluster is not None:
            await self._cluster.stop()
        if self._node is not None:
            await self._node.stop()

    async def run(self, commands: Sequence[Command], deadline: float) -> None:
        """Put a reply, a `ReplyError` or a `RedisFault` into each command; never raises."""
        steps = STEPS.get()
        if steps is None:
            await self._run(commands, deadline)
            return
        start = self._clock.wall()
        await self._run(commands, deadline)
        steps.append(Step(STEP, start, self._clock.wall()))

    async def _run(self, commands: Sequence[Command], deadline: float) -> None:
        deadline = min(deadline, self._clock.steady() + self._settings.timeout)
        pending, attempt = commands, 0
        while True:
            await self._ask(pending, deadline)
            # Nearly always all is well, which costs less to see than what else there is.
            if not any(isinstance(command.reply, Exception) for command in pending):
                return
            redirected = [command for command in pending if self._redirect(command)]
            away = [command for command in pending if _is_away(command.reply, attempt)]
            if not redirected and not away:
                return
            if away and self._cluster is not None:
                self._cluster.refresh_soon()
            pause = min(_PAUSE_MAX_SECONDS, _PAUSE_SECONDS * 2**attempt)
            if not away and attempt < _REDIRECTS_AT_ONCE:
                pause = 0.0
            if self._clock.steady() + pause >= deadline:
                return
            await asyncio.sleep(pause)
            # Not the two lists one after the other: commands on one counter keep their order.
            again = {id(command) for command in (*redirected, *away)}
            pending = [command for command in pending if id(command) in again]
            attempt += 1

    def subscribe(self, channel: str, hear: Callable[[bytes], None]) -> None:
        """Have `hear` called with every message of a channel, from now on and through outages."""
        self._listen(self._open_any, channel, hear)

    async def warn_of_evictions(self) -> None:
        """Tell the operator when this Redis may throw counters away."""
        for node in self._nodes:
            command = Command(("INFO", "memory"))
            await node.send([command], self._clock.steady() + self._settings.timeout)
            if isinstance(command.reply, bytes):
                policy = _eviction_policy(command.reply.decode())
                if policy not in {"", "noeviction"}:
                    _log.warning(
                        "Redis may evict counters when its memory is full (maxmemory-policy %s): limits would start anew; "
                        "set noeviction",
                        policy,
                    )

    def _listen(self, dial: Dial, channel: str, hear: Callable[[bytes], None]) -> None:
        subscription = Subscription(dial, channel, hear, self._bounds)
        self._subscriptions.append(subscription)
        subscription.start()

    def _leave_old_master(self, switch: bytes) -> None:
        """Ask the new master: the old one takes writes, which nobody will see again, until it is told to follow."""
        name, *_ = switch.decode().split(" ")
        if name == self._door.master and self._node is not None:
            self._node.retire()

    @property
    def _nodes(self) -> list[Node]:
        if self._cluster is not None:
            return self._cluster.nodes
        return [self._node] if self._node is not None else []

    async def _is_reached(self) -> bool:
        if self._cluster is not None:
            return await self._cluster.refresh()
        return self._node is not None and await self._node.ping()

    async def _ask(self, commands: Sequence[Command], deadline: float) -> None:
        if self._node is not None:
            await self._node.send(commands, deadline)
            return
        shares: dict[Node, list[Command]] = {}
        for command in commands:
            node = self._find(command)
            if node is None:
                command.reply = NotSent("no node of the cluster holds this slot")
            else:
                shares.setdefault(node, []).append(command)
        await together([node.send(share, deadline) for node, share in shares.items()])

    def _find(self, command: Command) -> Node | None:
        cluster = self._cluster
        if cluster is None:  # pragma: no cover - a lone node is asked without being looked for
            return None
        return cluster.find_at(*command.asked_at) if command.asked_at else cluster.find(command.slot)

    def _redirect(self, command: Command) -> bool:
        """Have a command go elsewhere, or in another form, if its reply says so."""
        command.asked_at = None
        match code(command.reply), self._cluster:
            case "NOSCRIPT", _ if command.script is not None:
                command.args = ("EVAL", command.script.body, *command.args[2:])
            case "MOVED", Cluster() as cluster:
                cluster.move(command.slot, cluster.find_at(*_target(command.reply)))
            case "ASK", Cluster():
                command.asked_at = _target(command.reply)
            case _:
                return False
        return True

    def _make_node_at(self, address: Address) -> Node:
        return Node(lambda make_link: self._door.open_at(address, make_link), self._bounds, self._clock, self._metrics)

    async def _open_any(self, make_link: Callable[[], Link]) -> Link:
        if self._cluster is None:
            return await self._door.open(make_link)
        return await self._door.open_at(self._cluster.addresses[0], make_link)


async def together(waits: Sequence[Coroutine[None, None, None]]) -> None:
    """Wait for all; a lone one, which is nearly every one, costs no task of its own."""
    if len(waits) == 1:
        await waits[0]
    else:
        await asyncio.gather(*waits)


def _is_away(reply: Reply, attempt: int) -> bool:
    """Whether a reply says that nothing happened, and that it is worth another try."""
    if isinstance(reply, NotSent):
        return not isinstance(reply, Shed)
    return code(reply) in AWAY or (code(reply) == "TRYAGAIN" and attempt < _SPLIT_ATTEMPTS)


def _target(reply: ReplyError) -> tuple[str, int]:
    """Read `MOVED 3999 127.0.0.1:6381`."""
    host, _, port = str(reply).split(" ")[2].rpartition(":")
    return host, int(port)


def _eviction_policy(info: str) -> str:
    """Return the policy, or nothing where memory has no bound that it could act on."""
    facts = dict(line.split(":", 1) for line in info.split("\r\n") if ":" in line)
    return facts.get("maxmemory_policy", "") if facts.get("maxmemory", "0") != "0" else ""
