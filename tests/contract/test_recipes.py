"""docs/cookbook.md: every recipe does what it says, asked as a gateway asks."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from math import inf
from pathlib import Path
from typing import Protocol

import pytest

from protos.interop.rls.v1.rls_pb2 import RateLimitRequest, RateLimitResponse
from protos.ratelimit.v1.admin_pb2 import SetLimitRequest
from protos.ratelimit.v1.limiter_pb2 import Descriptor, Entry
from ratelimit import settings
from ratelimit.app import Service
from serving.calls import Call, Caller, Failure, Reply
from serving.clock import Clock, SystemClock
from tests.fakes.clock import FakeClock
from tests.fakes.redis_servers import RedisServer, running

RECIPES = Path(__file__).parents[2] / "examples" / "recipes"

TOKEN = "t0k3n"
OK, OVER = RateLimitResponse.OK, RateLimitResponse.OVER_LIMIT


class Gateway:
    """Asks under domain `llm`."""

    def __init__(self, service: Service, clock: Clock) -> None:
        self._service = service
        self._clock = clock

    @property
    def clock(self) -> FakeClock:
        assert isinstance(self._clock, FakeClock)
        return self._clock

    async def ask(self, *descriptors: str, hits: int | None = 0, refund: bool = False) -> RateLimitResponse:
        """Send one call; a descriptor is written as `key=value,key=value`."""
        request = RateLimitRequest(domain="llm")
        for text in descriptors:
            descriptor = request.descriptors.add(is_negative_hits=refund)
            for pair in text.split(","):
                key, _, value = pair.partition("=")
                descriptor.entries.add(key=key, value=value)
            if hits is not None:
                descriptor.hits_addend.value = hits
        call = Call(request.SerializeToString(), self._clock.steady() + 1, Caller("test"))
        (reply,) = await self._service.rls.should_rate_limit([call])
        assert isinstance(reply, bytes), reply
        return RateLimitResponse.FromString(reply)

    async def set_limit(self, amount: int, key: str, value: str) -> Reply:
        """Ask as an operator does."""
        descriptor = Descriptor(entries=[Entry(key=key, value=value)])
        request = SetLimitRequest(domain="llm", descriptor=descriptor, amount=amount)
        caller = Caller("test", token=TOKEN)
        (reply,) = await self._service.apis.admin.handler("SetLimit")([Call(request.SerializeToString(), inf, caller)])
        assert isinstance(reply, bytes | Failure)
        return reply

    async def remaining(self, *descriptors: str) -> list[int]:
        answer = await self.ask(*descriptors)
        return [status.limit_remaining for status in answer.statuses]


class Cook(Protocol):
    async def __call__(self, recipe: str, *, redis: RedisServer | None = None) -> Gateway: ...


@pytest.fixture
async def cook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cook]:
    started: list[Service] = []

    async def start(recipe: str, *, redis: RedisServer | None = None) -> Gateway:
        (tmp_path / "config").mkdir()
        shutil.copy(RECIPES / recipe, tmp_path / "config")
        counters = {"BACKEND_TYPE": "memory"} if redis is None else {"REDIS_URL": str(redis.path)}
        environment = {"RUNTIME_ROOT": str(tmp_path), "USE_STATSD": "false", "API_TOKEN": TOKEN, **counters}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        clock = FakeClock() if redis is None else SystemClock()
        service = Service(settings.load(), clock)
        started.append(service)
        await service.store.start()
        await service.source.start()
        return Gateway(service, clock)

    yield start
    for service in started:
        await service.source.stop()
        await service.store.stop()


async def test_a_tenant_is_held_to_any_minute_and_to_five_hours(cook: Cook) -> None:
    gateway = await cook("tenants.yaml")
    gateway.clock.advance(2_400)  # to the start of five hours
    await gateway.ask("tenant=acme", hits=20_000)
    spent = await gateway.ask("tenant=acme")
    other = await gateway.ask("tenant=other")

    gateway.clock.advance(62)
    later = await gateway.ask("tenant=acme")
    for _ in range(49):
        await gateway.ask("tenant=acme", hits=20_000)
        gateway.clock.advance(62)
    used_up = await gateway.ask("tenant=acme")

    assert [each.overall_code for each in (spent, other, later, used_up)] == [OVER, OK, OK, OVER]
    assert used_up.statuses[0].current_limit.requests_per_unit == 1_000_000


async def test_a_monthly_budget_is_spent_at_the_price_of_each_kind_of_token(cook: Cook) -> None:
    gateway = await cook("dollars.yaml")
    await gateway.ask("tenant=acme,_token_kind=input", hits=1_000_000)
    await gateway.ask("tenant=acme,_token_kind=cached_input", hits=1_000_000)
    await gateway.ask("tenant=acme,_token_kind=output", hits=1_000_000)

    left = await gateway.remaining("tenant=acme")
    await gateway.ask("tenant=acme,_token_kind=output", hits=48_625_000)
    used_up = await gateway.ask("tenant=acme")
    # The clock stands on 15 November; in Berlin December begins an hour before it does in Greenwich.
    gateway.clock.advance(used_up.statuses[0].duration_until_reset.seconds)
    next_month = await gateway.ask("tenant=acme")

    assert left == [500_000_000 - 2_500_000 - 1_250_000 - 10_000_000]
    assert used_up.overall_code == OVER
    assert gateway.clock.wall() == 1_701_385_200  # 2023-11-30 23:00 UTC
    assert next_month.overall_code == OK


async def test_what_is_refused_for_one_counter_spends_nothing_on_the_others(cook: Cook) -> None:
    gateway = await cook("shared.yaml")
    asked = ("pool=gpt", "pool=gpt,tenant=acme")
    await gateway.ask(*asked, hits=30_000)

    refused = await gateway.ask(*asked, hits=20_000)

    assert refused.overall_code == OVER
    assert await gateway.remaining(*asked) == [70_000, 10_000]


async def test_of_chats_at_once_only_as_many_begin_as_the_budget_can_hold(cook: Cook) -> None:
    gateway = await cook("chats.yaml")
    begun = [await gateway.ask(f"tenant=acme,_request_id=chat-{number}") for number in range(12)]
    for number in range(10):
        await gateway.ask(f"tenant=acme,_request_id=chat-{number}", hits=200)

    assert [each.overall_code for each in begun] == [OK] * 10 + [OVER] * 2
    assert (await gateway.ask("tenant=acme,_request_id=next")).statuses[0].limit_remaining == 7_000


async def test_what_a_chat_that_died_had_set_aside_comes_back(cook: Cook) -> None:
    gateway = await cook("chats.yaml")
    for number in range(10):
        await gateway.ask(f"tenant=acme,_request_id=dead-{number}")
    full = await gateway.ask("tenant=acme,_request_id=late")

    gateway.clock.advance(301)

    assert full.overall_code == OVER
    assert (await gateway.ask("tenant=acme,_request_id=next")).overall_code == OK


async def test_a_charge_that_is_sent_twice_counts_once(cook: Cook) -> None:
    gateway = await cook("retries.yaml")
    for _ in range(2):
        await gateway.ask("tenant=acme,_request_id=r1,_phase=charge", hits=400)
    await gateway.ask("tenant=acme,_request_id=r2,_phase=charge", hits=500)

    assert await gateway.remaining("tenant=acme") == [9_100]


async def test_near_the_end_of_a_budget_the_request_is_marked_and_at_the_end_refused(cook: Cook) -> None:
    gateway = await cook("downgrade.yaml")
    await gateway.ask("tenant=acme", hits=79_999)
    before = await gateway.ask("tenant=acme")
    await gateway.ask("tenant=acme", hits=1)
    near = await gateway.ask("tenant=acme")
    await gateway.ask("tenant=acme", hits=20_000)
    end = await gateway.ask("tenant=acme")

    marks = [[(each.key, each.value) for each in answer.request_headers_to_add] for answer in (before, near)]

    assert marks == [[], [("x-model-tier", "small")]]
    assert [each.overall_code for each in (before, near, end)] == [OK, OK, OVER]


async def test_a_refused_client_gets_an_error_that_its_library_understands(cook: Cook) -> None:
    gateway = await cook("answers.yaml")
    await gateway.ask("tenant=acme", hits=20_000)

    refused = await gateway.ask("tenant=acme")
    headers = {each.key: each.value for each in refused.response_headers_to_add}

    assert json.loads(refused.raw_body)["error"]["code"] == "rate_limit_exceeded"
    assert headers["content-type"] == "application/json"
    assert headers["retry-after"] == str(refused.statuses[0].duration_until_reset.seconds)


async def test_without_redis_each_replica_goes_on_with_its_share(cook: Cook) -> None:
    with running() as server:
        gateway = await cook("outages.yaml", redis=server)
        await gateway.ask("tenant=acme", hits=5_000)

    answers = [await gateway.ask("tenant=acme", hits=hits) for hits in (2_000, 2_000)]
    free = await gateway.ask("tenant=free", hits=1)

    assert [each.overall_code for each in answers] == [OK, OVER]
    assert free.overall_code == OVER


async def test_a_hot_key_is_spent_in_blocks_and_never_beyond_its_limit(cook: Cook) -> None:
    gateway = await cook("hot.yaml")

    answers = [await gateway.ask("pool=gpt", hits=900) for _ in range(150)]

    passed = sum(each.overall_code == OK for each in answers)
    assert 900 * passed <= 100_000
    # A block of a tenth may be what is left when it no longer fits.
    assert 900 * passed > 89_000


async def test_an_operator_raises_and_stops_one_tenant_up_to_the_ceiling(cook: Cook) -> None:
    gateway = await cook("upgrades.yaml")
    await gateway.ask("tenant=acme", hits=20_000)
    before = await gateway.ask("tenant=acme")
    await gateway.set_limit(50_000, "tenant", "acme")
    raised = await gateway.ask("tenant=acme")
    await gateway.set_limit(0, "tenant", "bad")
    stopped = await gateway.ask("tenant=bad")
    beyond = await gateway.set_limit(200_001, "tenant", "acme")

    assert [each.overall_code for each in (before, raised, stopped)] == [OVER, OK, OVER]
    assert raised.statuses[0].limit_remaining == 30_000
    assert isinstance(beyond, Failure)
