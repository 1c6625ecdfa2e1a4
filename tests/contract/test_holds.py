"""Holds read one by one, wherever counters live and however they count."""

from __future__ import annotations

import math
import uuid
from typing import Any

import pytest

from protos.ratelimit.v1 import admin_pb2 as admin
from protos.ratelimit.v1 import limiter_pb2 as wire
from ratelimit.draw import Algorithm, Draw, Op, Terms
from ratelimit.errors import StoreError, StoreTimeout, StoreUnavailable
from ratelimit.store import Admission, HoldsPage
from ratelimit.stores import redis_holds
from ratelimit.stores.memory import MemoryStore
from ratelimit.stores.redis import RedisStore
from serving.calls import StatusCode
from serving.metrics import Registry
from serving.redis_node import Command
from tests.contract.harness import CLUSTER, MEMORY, PLAIN, SINGLE, Harness, Kind
from tests.contract.redis_stores import CLOCK, opened, settings
from tests.fakes.clock import FakeClock
from tests.fakes.desks import Apis
from tests.fakes.ports import free_port
from tests.fakes.redis_servers import RedisServer

RULES = """
domain: llm
descriptors:
  - key: plain
    rate_limit: {unit: hour, requests_per_unit: 100000}
  - key: fixed
    rate_limit: {amount: 100000, window: 5h, reserve: {ttl: 60s}}
  - key: sliding
    rate_limit: {amount: 100000, window: 1h, algorithm: sliding_window}
  - key: bucket
    rate_limit: {amount: 10, window: 1h, algorithm: token_bucket, burst: 100000}
  - key: two
    rate_limit: {limits: [{amount: 100000, unit: hour}, {amount: 50000, window: 1h, algorithm: sliding_window}]}
  - key: free
    rate_limit: {unlimited: true}
"""
ONE = ("plain", "fixed", "sliding", "bucket")

on_scripts = pytest.mark.parametrize(
    "harness", [MEMORY, SINGLE, CLUSTER], ids=lambda kind: kind.name if isinstance(kind, Kind) else "", indirect=True
)


class Operator:
    """Reserves as callers do, and looks."""

    def __init__(self, harness: Harness) -> None:
        self.clock = FakeClock()
        self.apis = Apis(RULES, store=harness.store, clock=self.clock)
        self.value = uuid.uuid4().hex

    def descriptor(self, key: str, value: str = "") -> wire.Descriptor:
        return wire.Descriptor(entries=[wire.Entry(key=key, value=value or self.value)])

    async def reserve(self, key: str, hits: int, request_id: str, ttl_seconds: int = 60, value: str = "") -> str:
        request = wire.ReserveRequest(
            domain="llm",
            descriptors=[self.descriptor(key, value)],
            amount=wire.Amount(hits=hits),
            request_id=request_id,
        )
        request.ttl.FromSeconds(ttl_seconds)
        return (await self.apis.ask("Reserve", request, wire.ReserveResponse)).reservation_id

    async def settle(self, reservation_id: str) -> bool:
        """Return whether it was held."""
        request = wire.SettleRequest(reservation_id=reservation_id, amount=wire.Amount(hits=20))
        return bool((await self.apis.ask("Settle", request, wire.SettleResponse)).held)

    async def page(self, key: str, size: int = 0, token: str = "", value: str = "") -> admin.ListHoldsResponse:
        request = admin.ListHoldsRequest(
            domain="llm", descriptor=self.descriptor(key, value), page_size=size, page_token=token
        )
        return await self.apis.ask("ListHolds", request, admin.ListHoldsResponse)

    async def holds(self, key: str, size: int = 0, value: str = "") -> list[admin.Hold]:
        page = await self.page(key, size, value=value)
        found = list(page.holds)
        while page.next_page_token:
            page = await self.page(key, size, page.next_page_token, value)
            found += page.holds
        return found


@pytest.fixture
async def operator(harness: Harness) -> Operator:
    made = Operator(harness)
    await made.apis.start()
    return made


@on_scripts
@pytest.mark.parametrize("key", ONE)
async def test_a_hold_is_listed_with_its_id_its_amount_and_when_it_is_given_back(operator: Operator, key: str) -> None:
    await operator.reserve(key, 30, "one", 60)
    await operator.reserve(key, 40, "other", 30)
    holds = {each.id: (each.amount, each.due.ToMilliseconds()) for each in await operator.holds(key)}

    now_ms = int(operator.clock.wall() * 1000)
    assert holds == {"one": (30, now_ms + 60_000), "other": (40, now_ms + 30_000)}


@on_scripts
@pytest.mark.parametrize("key", ONE)
async def test_a_hold_that_ended_in_whatever_way_is_not_listed(operator: Operator, key: str) -> None:
    settled = await operator.reserve(key, 30, "settled")
    released = await operator.reserve(key, 30, "released")
    await operator.reserve(key, 30, "expired", 10)
    await operator.reserve(key, 30, "held")
    settle = wire.SettleRequest(reservation_id=settled, amount=wire.Amount(hits=5))
    await operator.apis.ask("Settle", settle, wire.SettleResponse)
    await operator.apis.ask("Release", wire.ReleaseRequest(reservation_id=released), wire.ReleaseResponse)
    operator.clock.advance(10.0)

    assert [each.id for each in await operator.holds(key)] == ["held"]


@on_scripts
async def test_one_of_several_limits_is_on_all_of_them(operator: Operator) -> None:
    await operator.reserve("two", 30, "one")

    assert [(each.id, each.window, each.algorithm) for each in await operator.holds("two")] == [
        ("one", "hour", "fixed_window"),
        ("one", "hour", "sliding_window"),
    ]


@on_scripts
async def test_pages_have_about_as_many_as_were_asked_for_and_together_all(operator: Operator) -> None:
    for number in range(700):
        await operator.reserve("fixed", 1, f"r{number}", 30 + number % 3)
    first = await operator.page("fixed", 50)
    found = await operator.holds("fixed", 50)

    assert 0 < len(first.holds) < 150
    assert {each.id for each in found} == {f"r{number}" for number in range(700)}


@on_scripts
@pytest.mark.parametrize("value", ["a{b}c", "a{b", "a{}b", "a}b", "{}{c}", "}{", "{}}"])
async def test_a_value_with_braces_is_held_found_and_settled_once(operator: Operator, value: str) -> None:
    value = f"{operator.value}{value}"
    tickets = [await operator.reserve(key, 30, "one", value=value) for key in ONE]
    found = [[each.id for each in await operator.holds(key, value=value)] for key in ONE]
    settled = [[await operator.settle(ticket) for _ in range(2)] for ticket in tickets]

    assert found == [["one"]] * len(ONE)
    assert settled == [[True, False]] * len(ONE)
    assert [await operator.holds(key, value=value) for key in ONE] == [[]] * len(ONE)


@on_scripts
async def test_holds_without_an_id_are_listed_without_one(harness: Harness) -> None:
    terms = Terms(Algorithm.FIXED_WINDOW, 1_000, 0, 1_000, hold_ms=60_000, hold_max=1_000)
    start = int(harness.now) // 3600 * 3600
    draw = Draw(f"{{{harness.prefix}}}k", Op.RESERVE, 7, terms, start=start, end=start + 3600)
    for times in (1, 2, 40):
        await harness.store.admit((), [Admission([draw], math.inf, is_kept=True)] * times, harness.now)
    page = await harness.store.holds(draw, cursor="", most=50, now=harness.now, deadline=math.inf)

    assert isinstance(page, HoldsPage)
    assert [(hold.id, hold.amount) for hold in page.holds] == [("", 7)] * 43


@on_scripts
async def test_where_nothing_is_held_or_limited_nothing_is_listed(operator: Operator) -> None:
    assert [await operator.holds(key) for key in ("fixed", "free", "unknown")] == [[], [], []]


@on_scripts
@pytest.mark.parametrize("token", ["x", "0.x", "0.1:2:3:4", "9" * 30])
async def test_a_page_token_is_one_that_was_given(operator: Operator, token: str) -> None:
    request = admin.ListHoldsRequest(domain="llm", descriptor=operator.descriptor("fixed"), page_token=token)
    failure = await operator.apis.failure("ListHolds", request)

    assert (failure.status, failure.detail) == (
        StatusCode.INVALID_ARGUMENT,
        "page_token: is none that a page before gave",
    )


@pytest.mark.parametrize("harness", [SINGLE, PLAIN], ids=lambda kind: kind.name, indirect=True)
async def test_what_is_no_hash_of_holds_is_told(harness: Harness) -> None:
    terms = Terms(Algorithm.FIXED_WINDOW, 1_000, 0, 1_000, hold_ms=60_000)
    draw = Draw(f"{{{harness.prefix}}}k", Op.CHARGE, 0, terms)
    harness.ask(draw.stem, "SET", f"{draw.stem}:h3", "text")
    page = await harness.store.holds(draw, cursor="", most=10, now=harness.now, deadline=math.inf)

    assert isinstance(page, StoreError)


async def test_holds_end_by_the_clock_of_the_server(redis_server: RedisServer) -> None:
    async with opened(settings(redis_server.path, socket_type="unix")) as store:
        terms = Terms(Algorithm.FIXED_WINDOW, 1_000, 0, 1_000, hold_ms=60_000, hold_max=1_000)
        now = CLOCK.wall()
        start = int(now) // 3600 * 3600
        draw = Draw(f"{{{uuid.uuid4().hex}}}k", Op.RESERVE, 7, terms, id="one", start=start, end=start + 3600)
        await store.admit((), [Admission([draw], math.inf, is_kept=True)], now)
        page = await store.holds(draw, cursor="", most=10, now=0.0, deadline=math.inf)

    assert isinstance(page, HoldsPage)
    assert [hold.id for hold in page.holds] == ["one"]


@pytest.mark.parametrize("replies", [(1, [b"0", []]), ([b"1", b"2"], 1), ([b"1", b"2"], [b"0", [b"ia", b"1:2"]])])
def test_an_answer_that_makes_no_sense_is_an_error(replies: tuple[Any, Any]) -> None:
    commands = [Command((), reply=reply) for reply in replies]
    page = redis_holds.read(commands, 0)

    assert isinstance(page, StoreTimeout)


@pytest.mark.parametrize("is_reached", [False, True])
async def test_counters_that_are_away_are_told(*, is_reached: bool) -> None:
    away = settings(f"127.0.0.1:{free_port()}", timeout=0.2)
    store = RedisStore(away, None, Registry(), CLOCK)
    apis = await Apis(RULES, store=store if not is_reached else Forgetful(10), clock=CLOCK).start()
    descriptor = wire.Descriptor(entries=[wire.Entry(key="fixed", value="x")])
    failure = await apis.failure("ListHolds", admin.ListHoldsRequest(domain="llm", descriptor=descriptor))
    await store.stop()

    assert failure.status in {StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED}


class Forgetful(MemoryStore):
    """Counts, and is away for who asks for holds."""

    async def holds(self, draw: Draw, *, cursor: str, most: int, now: float, deadline: float) -> HoldsPage | StoreError:
        del draw, cursor, most, now, deadline
        return StoreUnavailable("away")
