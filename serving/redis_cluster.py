"""Which server of a cluster holds which slot.

The map is asked for at start, and again when somebody says that it is wrong (MOVED, or a node that
does not answer): once at a time, in the background. A MOVED is believed at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

from serving.clock import Clock
from serving.redis import Address
from serving.redis_link import Reply
from serving.redis_node import Command, Node

SLOTS = 16384

# A map is asked for at most this often: a cluster that fails over says MOVED to every call.
_REFRESH_INTERVAL_SECONDS = 0.1
_REFRESH_TIMEOUT_SECONDS = 1.0

_LEAVE_TURNS = 10


class Cluster:
    """Finds the node for a slot."""

    def __init__(self, seeds: Sequence[Address], make_node: Callable[[Address], Node], clock: Clock) -> None:
        self._seeds = seeds
        self._make_node = make_node
        self._clock = clock
        self._nodes: dict[tuple[str, int], Node] = {}
        self._slots: list[Node | None] = [None] * SLOTS
        self._refreshing: asyncio.Task[bool] | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    @property
    def nodes(self) -> list[Node]:
        """All that are known."""
        return list(self._nodes.values())

    @property
    def addresses(self) -> list[Address]:
        """Where they are; the configured ones while none is known."""
        return [self._seeds[0].at(*name) for name in self._nodes] or list(self._seeds)

    def find(self, slot: int) -> Node | None:
        """Return the node of a slot; None where the cluster names none."""
        return self._slots[slot]

    def find_at(self, host: str, port: int) -> Node:
        """Return the node at this address, which may be new."""
        node = self._nodes.get((host, port))
        if node is None:
            node = self._nodes[host, port] = self._make_node(self._seeds[0].at(host, port))
        return node

    def move(self, slot: int, node: Node) -> None:
        """Believe a MOVED, and ask for the whole map."""
        self._slots[slot] = node
        self.refresh_soon()

    def refresh_soon(self) -> None:
        """Ask for the map in the background, if nobody does."""
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(self._refresh_then_rest())

    async def refresh(self) -> bool:
        """Ask one node after the other for the map; say whether one told it."""
        for name in [*self._nodes, *((seed.host, seed.port) for seed in self._seeds)]:
            command = Command(("CLUSTER", "SLOTS"))
            await self.find_at(*name).send([command], self._clock.steady() + _REFRESH_TIMEOUT_SECONDS)
            if isinstance(command.reply, list) and command.reply:
                self._draw(command.reply, name[0])
                return True
        return False

    async def stop(self) -> None:
        """Close every connection."""
        if self._refreshing is not None:
            self._refreshing.cancel()
        await asyncio.gather(*(node.stop() for node in self.nodes), *self._leaving)

    async def _refresh_then_rest(self) -> bool:
        try:
            is_told = await self.refresh()
            await asyncio.sleep(_REFRESH_INTERVAL_SECONDS)
        finally:
            self._refreshing = None
        return is_told

    def _draw(self, ranges: Reply, host_asked: str) -> None:
        slots: list[Node | None] = [None] * SLOTS
        for first, last, name in _masters(ranges, host_asked):
            slots[first : last + 1] = [self.find_at(*name)] * (last + 1 - first)
        self._slots = slots
        used = {id(node) for node in slots}
        for name, node in list(self._nodes.items()):
            if id(node) not in used:
                del self._nodes[name]
                leaving = asyncio.create_task(_leave(node))
                self._leaving.add(leaving)
                leaving.add_done_callback(self._leaving.discard)


async def _leave(node: Node) -> None:
    """Let a node go once what is under way on it was answered, or nearly so."""
    for _ in range(_LEAVE_TURNS):
        if not node.in_flight:
            break
        await asyncio.sleep(_REFRESH_INTERVAL_SECONDS)
    await node.stop()


def _masters(ranges: Reply, host_asked: str) -> Iterator[tuple[int, int, tuple[str, int]]]:
    for first, last, (host, port, *_), *_ in ranges:
        # A node that does not know its own name leaves it out: it is the one we asked.
        yield first, last, (host.decode() if host else host_asked, port)
