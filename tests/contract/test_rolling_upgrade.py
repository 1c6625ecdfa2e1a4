"""Two versions of ours on one Redis, and callers of either: what one has written the other goes on with.

    state.json ── what a version wrote: keys, types, values ──▶ read, settled, refunded and counted on by this one
    wire.txt   ── every field of our messages                ──▶ all are still there, with their numbers and types

`--rewrite` writes both down anew, as is done for each release: what came since then may still change. What a difference
wants is said by the test that finds it.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor

from protos.ratelimit.v1 import admin_pb2, limiter_pb2
from protos.ratelimit.v1 import limiter_pb2 as wire
from protos.semcache.v1 import semcache_pb2
from ratelimit.draw import Algorithm, Draw, Op, Standing, Terms
from ratelimit.store import Admission
from ratelimit.stores.redis import RedisStore
from serving.clock import SystemClock
from serving.metrics import Registry
from tests.contract.redis_stores import settings
from tests.fakes.clock import FakeClock
from tests.fakes.desks import Apis
from tests.fakes.redis_servers import RedisServer, running

DATA = Path(__file__).parents[1] / "data" / "upgrade"
STATE, WIRE = DATA / "state.json", DATA / "wire.txt"

OTHER_STATE = """\
What replicas share in Redis has another form than {file} has. During a rolling update old and new ones count on the
same keys, so either
1. both versions understand both forms: `pytest tests/contract/test_rolling_upgrade.py --rewrite`, and the tests that go
   on with the old file must have passed before; or
2. the new form has keys of a new name (as `:h3` came after `:h2`), which old replicas never read: rewrite, and tell in
   CHANGELOG.md what is forgotten at the update."""
OTHER_WIRE = """\
A field or method that callers have compiled in is gone, or is another: {fields}. Give it back; what is not wanted any more is
deprecated, and its number never used again."""

RULES = """
domain: llm
descriptors:
  - key: plain
    rate_limit: {unit: hour, requests_per_unit: 10000}
  - key: kept
    rate_limit: {unit: hour, requests_per_unit: 10000, on_deny: keep, idempotent: 10m}
  - key: fixed
    rate_limit: {amount: 10000, window: 5h, reserve: {ttl: 60s}}
  - key: month
    rate_limit: {amount: 10000, calendar: month, timezone: Europe/Berlin}
  - key: sliding
    rate_limit: {amount: 10000, window: 1h, algorithm: sliding_window, reserve: {ttl: 60s}}
  - key: bucket
    rate_limit: {amount: 3600, window: 1h, algorithm: token_bucket, burst: 10000, reserve: {ttl: 60s}}
  - key: braces
    rate_limit: {amount: 10000, window: 5h}
"""
KEYS = ("plain", "kept", "fixed", "month", "sliding", "bucket", "braces")
RESERVED = ("plain", "fixed", "sliding", "bucket")
VALUES = {"braces": "a{b}c_d"}
# A gateway that names no request, so that its charge settles the oldest hold.
NAMELESS = Terms(Algorithm.FIXED_WINDOW, 10_000, hold_ms=60_000, hold_max=5_000)
START = int(FakeClock().wall()) // 3600 * 3600


class Replica:
    """One version over a Redis."""

    def __init__(self, server: RedisServer, store: RedisStore, apis: Apis) -> None:
        self.server, self.store, self.apis = server, store, apis

    async def charge(self, key: str, hits: int, request_id: str = "") -> None:
        request = wire.ChargeRequest(
            domain="llm", descriptors=[_descriptor(key)], amount=wire.Amount(hits=hits), request_id=request_id
        )
        await self.apis.ask("Charge", request, wire.ChargeResponse)

    async def refund(self, key: str, hits: int) -> None:
        request = wire.RefundRequest(domain="llm", descriptors=[_descriptor(key)], amount=wire.Amount(hits=hits))
        await self.apis.ask("Refund", request, wire.RefundResponse)

    async def reserve(self, key: str, hits: int) -> str:
        request = wire.ReserveRequest(
            domain="llm", descriptors=[_descriptor(key)], amount=wire.Amount(hits=hits), request_id=f"held-{key}"
        )
        return (await self.apis.ask("Reserve", request, wire.ReserveResponse)).reservation_id

    async def settle(self, ticket: str, hits: int) -> bool:
        request = wire.SettleRequest(reservation_id=ticket, amount=wire.Amount(hits=hits))
        return (await self.apis.ask("Settle", request, wire.SettleResponse)).held

    async def nameless(self, op: Op, hits: int, times: int = 1) -> Standing:
        draw = Draw("{llm_nameless}", op, hits, NAMELESS, start=START, end=START + 3600)
        _, (outcome, *_) = await self.store.admit([], [Admission([draw], math.inf)] * times, self.apis.clock.wall())
        assert not isinstance(outcome, Exception), outcome
        return outcome[0]

    async def stands(self) -> dict[str, tuple[int, int]]:
        """Return what is spent and held of each."""
        request = wire.CheckRequest(domain="llm", descriptors=[_descriptor(key) for key in KEYS])
        response = await self.apis.ask("Check", request, wire.CheckResponse)
        counters = [status.counters[0] for status in response.verdict.statuses]
        standing = await self.nameless(Op.CHARGE, 0)
        found = {key: (one.spent, one.held) for key, one in zip(KEYS, counters, strict=True)}
        return found | {"nameless": (standing.after, standing.held)}


def _descriptor(key: str) -> wire.Descriptor:
    return wire.Descriptor(entries=[wire.Entry(key=key, value=VALUES.get(key, "a"))])


@asynccontextmanager
async def replica(clock: FakeClock, keys: dict[str, Any]) -> AsyncIterator[Replica]:
    with running() as server:
        for key, (kind, value, life_ms) in keys.items():
            _put(server, key, kind, value, life_ms)
        redis = settings(server.path, socket_type="unix", expiration_jitter_max_seconds=0)
        store = RedisStore(redis, None, Registry(), SystemClock(), is_timed_by_caller=True)
        await store.start()
        try:
            yield Replica(server, store, await Apis(RULES, store=store, clock=clock).start())
        finally:
            await store.stop()


def _put(server: RedisServer, key: str, kind: str, value: Any, life_ms: int) -> None:
    match kind:
        case "string":
            server.ask("SET", key, value)
        case "hash":
            server.ask("HSET", key, *(text for pair in value.items() for text in pair))
        case "zset":
            server.ask("ZADD", key, *(text for member, score in value.items() for text in (score, member)))
        case _:
            raise AssertionError(f"{key}: who writes down a {kind} knows how to put it back")
    server.ask("PEXPIRE", key, life_ms)


def _dump(server: RedisServer) -> dict[str, Any]:
    """Return every key with its type, value, and life in whole minutes (ms)."""
    found: dict[str, Any] = {}
    for key in sorted(name.decode() for name in server.ask("KEYS", "*")):
        kind = server.ask("TYPE", key).decode()
        value: Any = None
        match kind:
            case "string":
                value = server.ask("GET", key).decode()
            case "hash":
                value = _pairs(server.ask("HGETALL", key))
            case "zset":
                value = _pairs(server.ask("ZRANGE", key, 0, -1, "WITHSCORES"))
        found[key] = [kind, value, math.ceil(server.ask("PTTL", key) / 60_000) * 60_000]
    return found


def _pairs(flat: list[bytes]) -> dict[str, str]:
    texts = [each.decode() for each in flat]
    return dict(sorted(zip(texts[::2], texts[1::2], strict=True)))


async def _begin(one: Replica) -> dict[str, str]:
    """Do a bit of everything; return what callers were given."""
    for key in KEYS:
        await one.charge(key, 1_000)
    await one.charge("kept", 500, "charged-once")
    await one.refund("plain", 100)
    for hits in (300, 400):
        await one.nameless(Op.RESERVE, hits)
    await one.nameless(Op.RESERVE, 500, times=3)
    return {key: await one.reserve(key, 2_000) for key in RESERVED}


async def _go_on(one: Replica, tickets: dict[str, str]) -> list[bool]:
    """Do what callers do after an update; return whether settlements found what they settle."""
    settled = [await one.settle(tickets[key], 700) for key in RESERVED for _ in range(2)]
    await one.nameless(Op.SETTLE, 50)
    for key in KEYS:
        await one.charge(key, 10)
    await one.charge("kept", 500, "charged-once")
    await one.refund("fixed", 200)
    return settled


async def _write() -> dict[str, Any]:
    """Return what this version leaves in Redis, and the names of what it leaves when it goes on."""
    async with replica(FakeClock(), {}) as one:
        tickets = await _begin(one)
        keys, stands = _dump(one.server), await one.stands()
        await _go_on(one, tickets)
        return {"keys": keys, "tickets": tickets, "stands": stands, "names": list(_dump(one.server))}


@pytest.fixture
def state() -> dict[str, Any]:
    written: dict[str, Any] = json.loads(STATE.read_text())
    return written


async def test_what_replicas_share_has_the_form_that_was_written_down(pytestconfig: pytest.Config) -> None:
    now = json.loads(json.dumps(await _write()))
    if pytestconfig.getoption("--rewrite"):
        STATE.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n")

    assert now == json.loads(STATE.read_text()), OTHER_STATE.format(file=STATE.name)


async def test_what_an_earlier_version_spent_and_held_is_known(state: dict[str, Any]) -> None:
    async with replica(FakeClock(), state["keys"]) as one:
        assert await one.stands() == {key: tuple(value) for key, value in state["stands"].items()}


async def test_what_it_held_is_settled_once_and_its_counters_are_counted_on(state: dict[str, Any]) -> None:
    async with replica(FakeClock(), state["keys"]) as one:
        settled = await _go_on(one, state["tickets"])
        stands = await one.stands()
        names = list(_dump(one.server))

    before = {key: value[0] for key, value in state["stands"].items()}
    assert settled == [True, False] * len(RESERVED)
    assert stands == {
        "plain": (before["plain"] + 710, 0),
        "kept": (before["kept"] + 10, 0),
        "fixed": (before["fixed"] + 510, 0),
        "month": (before["month"] + 10, 0),
        "sliding": (before["sliding"] + 710, 0),
        "bucket": (before["bucket"] + 710, 0),
        "braces": (before["braces"] + 10, 0),
        "nameless": (50, 1_900),
    }
    assert names == state["names"], OTHER_STATE.format(file=STATE.name)


async def test_what_it_held_and_nobody_settles_is_given_back(state: dict[str, Any]) -> None:
    clock = FakeClock()
    clock.advance(121)
    async with replica(clock, state["keys"]) as one:
        held = {key: standing[1] for key, standing in (await one.stands()).items()}

    assert set(held.values()) == {0}


def _fields() -> Iterator[str]:
    """Yield every field and method of our wire, as callers have compiled them in."""
    for file in (limiter_pb2.DESCRIPTOR, admin_pb2.DESCRIPTOR, semcache_pb2.DESCRIPTOR):
        yield from _of_file(file)


def _of_file(file: FileDescriptor) -> Iterator[str]:
    for service in file.services_by_name.values():
        for method in service.methods:
            streams = f"{'stream ' * method.client_streaming}>{' stream' * method.server_streaming}"
            names = method.input_type.full_name, method.output_type.full_name
            yield f"rpc {method.full_name} {names[0]} {streams} {names[1]}"
    for kind in file.enum_types_by_name.values():
        yield from (f"enum {kind.full_name} {value.name} = {value.number}" for value in kind.values)
    for message in file.message_types_by_name.values():
        yield from _of_message(message)


def _of_message(message: Descriptor) -> Iterator[str]:
    for field in message.fields:
        yield f"field {field.full_name} = {field.number} {_type(field)}"
    for kind in message.enum_types:
        yield from (f"enum {kind.full_name} {value.name} = {value.number}" for value in kind.values)
    for nested in message.nested_types:
        yield from _of_message(nested)


def _type(field: FieldDescriptor) -> str:
    of = field.message_type or field.enum_type
    number = field.type if of is None else of.full_name
    return f"{'repeated ' * field.is_repeated}{number}"


def test_no_field_of_our_wire_is_gone_or_another(pytestconfig: pytest.Config) -> None:
    if pytestconfig.getoption("--rewrite"):
        WIRE.write_text("".join(f"{line}\n" for line in sorted(_fields())))
    gone = sorted(set(WIRE.read_text().splitlines()) - set(_fields()))

    assert gone == [], OTHER_WIRE.format(fields="; ".join(gone))
