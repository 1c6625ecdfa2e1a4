"""A store under test, with what it can do and a way to look behind its back."""

from __future__ import annotations

import math
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from ratelimit.store import Charge, Ledger, Outcome, Policy, Store

NOW = 1_700_007_200.0


@dataclass(frozen=True)
class Kind:
    """An implementation, and which rules need more than it has."""

    name: str
    is_atomic: bool = True
    """A ledger is applied whole or not at all, whoever else is writing."""
    is_shared: bool = True
    """Others may write to it."""
    tells_refunds: bool = True
    has_one_end: bool = True
    """A charge renews nothing."""


MEMORY = Kind("memory", is_shared=False)
SINGLE = Kind("redis")
CLUSTER = Kind("cluster", is_atomic=False)
PLAIN = Kind("plain", is_atomic=False, tells_refunds=False, has_one_end=False)
KINDS = (MEMORY, SINGLE, CLUSTER, PLAIN)


def on_those_that(*abilities: str) -> pytest.MarkDecorator:
    """Run a test on every kind that has these abilities; without any, on all."""
    kinds = [kind for kind in KINDS if all(getattr(kind, ability) for ability in abilities)]
    return pytest.mark.parametrize("harness", kinds, ids=[kind.name for kind in kinds], indirect=True)


on_all = on_those_that()

Read = Callable[[str], Awaitable[tuple[int, float] | None]]


@dataclass
class Harness:
    """Keys are told apart by a prefix: the servers are shared between tests."""

    kind: Kind
    store: Store
    read: Read
    """Value and remaining life of a key."""
    ask: Callable[..., Any] = print
    """The server that has a key, and a command for it."""
    prefix: str = field(default_factory=lambda: uuid.uuid4().hex)
    now: float = NOW

    def key(self, name: str) -> str:
        return f"{self.prefix}_{name}_{int(self.now)}"

    def put(self, key: str, text: str) -> None:
        self.ask(key, "SET", key, text, "EX", 100)

    def charge(self, name: str, hits: int = 1, limit: int = 10, ttl: int = 100) -> Charge:
        return Charge(self.key(name), hits, limit, ttl)

    def refund(self, name: str, hits: int) -> Charge:
        return Charge(self.key(name), hits, 10, 100, is_refund=True)

    async def run(self, *ledgers: Sequence[Charge], policy: Policy = Policy.BURN) -> Sequence[Outcome]:
        return await self.store.charge([Ledger(charges, math.inf, policy) for charges in ledgers], self.now)

    async def stop_run(self, *ledgers: Sequence[Charge]) -> Sequence[Outcome]:
        return await self.run(*ledgers, policy=Policy.STOP)

    async def value(self, name: str) -> int | None:
        found = await self.read(self.key(name))
        return None if found is None else found[0]

    async def life(self, name: str) -> float:
        found = await self.read(self.key(name))
        assert found is not None
        return found[1]
