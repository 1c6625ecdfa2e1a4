"""The client's stream against a server in this process: batches, outages, and what counts once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import pytest

from protos.ratelimit.v1.limiter_pb2 import ExchangeRequest, ExchangeResponse
from ratelimit.client import LimiterAway, LimiterClient, LimiterRefused
from ratelimit.client.exchange import Exchange, _Waiting
from ratelimit.errors import StoreUnavailable
from ratelimit.rights import holder_of
from ratelimit.store import Admission, AdmissionOutcome, Ledger, Outcome
from ratelimit.stores.memory import MemoryStore
from serving.clock import SystemClock
from serving.grpc_handlers import Paths
from serving.grpc_server import GrpcServer
from serving.metrics import Registry
from serving.settings import GrpcSettings
from tests.fakes.desks import Apis
from tests.fakes.ports import free_port

RULES = """
domain: llm
descriptors:
  - key: tenant
    rate_limit: {amount: 1000, window: 1h, reserve: {ttl: 60s, default: 250}}
"""
TOKEN = "t0k3n"


class Store(MemoryStore):
    """A store that tells how often it is asked, and can be made to fail."""

    def __init__(self) -> None:
        super().__init__(10_000)
        self.batches: list[int] = []
        self.unavailable = 0
        self.breaking = 0
        """Times that it counts, and its answer is lost."""
        self.hanging: asyncio.Event | None = None

    async def admit(
        self, ledgers: Sequence[Ledger], admissions: Sequence[Admission], now: float
    ) -> tuple[Sequence[Outcome], Sequence[AdmissionOutcome]]:
        self.batches.append(len(admissions))
        if self.unavailable:
            self.unavailable -= 1
            return (), [StoreUnavailable("away")] * len(admissions)
        answer = await super().admit(ledgers, admissions, now)
        if self.hanging is not None:
            await self.hanging.wait()
        if self.breaking:
            self.breaking -= 1
            raise ConnectionError
        return answer


ODD = "/weir.ratelimit.v1.LimiterService/Odd"


async def odd(messages: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
    """Answer the first message with what nobody asked, and end at the second, in good order."""
    await anext(messages)
    yield ExchangeResponse(answers=[ExchangeResponse.Answer(id=2**40)]).SerializeToString()
    await anext(messages)


class Served:
    """A service that can be restarted."""

    def __init__(self, apis: Apis, store: Store) -> None:
        self.apis = apis
        self.store = store
        self.port = free_port()

    async def start(self) -> None:
        settings = GrpcSettings(grpc_host="127.0.0.1", grpc_port=self.port)
        handlers = [*self.apis.own.handlers(), Paths({ODD: grpc.stream_stream_rpc_method_handler(odd)})]
        methods = [method for method in self.apis.own.methods() if "weir" in method.path]
        self.server = GrpcServer(settings, methods, SystemClock(), Registry(), handlers=handlers, grace_seconds=0.0)
        await self.server.start()

    def client(self, **options: Any) -> LimiterClient:
        given = {"domain": "llm", "token": TOKEN, "timeout_seconds": 10.0, "on_error": "raise", **options}
        return LimiterClient(f"127.0.0.1:{self.port}", **given)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    store = Store()
    apis = await Apis(RULES, store=store, callers=(holder_of(TOKEN),), clock=SystemClock()).start()
    made = Served(apis, store)
    await made.start()
    yield made
    if store.hanging is not None:
        store.hanging.set()
    await made.server.stop()


async def spent(served: Served, tenant: str = "acme") -> tuple[int, int]:
    async with served.client() as limits:
        (limit,) = (await limits.check(0, tenant=tenant)).limits
        return limit.spent, limit.held


async def test_calls_that_wait_go_out_together_and_each_has_its_own_answer(served: Served) -> None:
    async with served.client() as limits, limits.exchange() as stream:
        answers = await asyncio.gather(*(stream.charge(number, tenant=f"t{number}") for number in range(1, 301)))

    assert [answer.limits[0].spent for answer in answers] == list(range(1, 301))
    # The first goes out at once; the others had gathered meanwhile.
    assert len(served.store.batches) <= 4
    assert max(served.store.batches) <= 256


async def test_callers_of_one_stream_are_held_to_the_limit_exactly(served: Served) -> None:
    async with served.client() as limits, limits.exchange() as stream:
        answers = await asyncio.gather(*(stream.charge(10, tenant="acme") for _ in range(150)))

    assert sum(answer.is_allowed for answer in answers) == 100
    assert await spent(served) == (1_000, 0)


async def test_a_message_has_no_more_calls_than_it_may(served: Served) -> None:
    async with served.client() as limits, limits.exchange(calls_max=7) as stream:
        await asyncio.gather(*(stream.charge(tenant="acme") for _ in range(50)))

    assert max(served.store.batches) == 7
    assert await spent(served) == (50, 0)


async def test_no_more_calls_are_under_way_than_may_be(served: Served) -> None:
    async with served.client() as limits, limits.exchange(in_flight_max=5) as stream:
        await asyncio.gather(*(stream.charge(tenant="acme") for _ in range(50)))

    assert max(served.store.batches) <= 5


async def test_everything_that_a_client_can_ask_goes_over_the_stream(served: Served) -> None:
    async with served.client() as limits, limits.exchange() as stream:
        async with stream.reserve(800, tenant="acme") as hold:
            inside = await spent(served)
            hold.settle(300)
        await stream.refund(100, tenant="acme")
        async with stream.lease(tenant="other") as lease:
            await lease.spend(7)
        checked = await stream.check(801, tenant="acme")

    assert (inside, checked.is_allowed) == ((0, 800), False)
    assert (await spent(served), await spent(served, "other")) == ((200, 0), (7, 0))


async def test_calls_under_way_while_the_service_is_restarted_are_sent_again_and_count_once(served: Served) -> None:
    async with served.client() as limits, limits.exchange() as stream:
        await stream.charge(1, tenant="acme")
        served.store.hanging = asyncio.Event()
        under_way = asyncio.gather(*(stream.charge(1, tenant="acme") for _ in range(20)))
        asked = len(served.store.batches)
        async with asyncio.timeout(20):
            while len(served.store.batches) == asked:  # noqa: ASYNC110 - what others do
                await asyncio.sleep(0.005)
        stopping = asyncio.create_task(served.server.stop())
        served.store.hanging.set()
        await stopping
        served.store.hanging = None
        await served.start()
        answers = await under_way

    assert all(answer.is_answered for answer in answers)
    assert await spent(served) == (21, 0)


async def test_what_was_counted_before_its_answer_was_lost_counts_once(served: Served) -> None:
    async with served.client() as limits, limits.exchange() as stream:
        served.store.breaking = 2
        answer = await stream.charge(5, tenant="acme")

    assert (answer.is_allowed, await spent(served)) == (True, (5, 0))


async def test_what_the_counters_did_not_take_is_sent_again(served: Served) -> None:
    served.store.unavailable = 2
    async with served.client() as limits, limits.exchange() as stream:
        answer = await stream.charge(5, tenant="acme")

    assert (answer.is_answered, await spent(served)) == (True, (5, 0))


async def test_it_is_sent_again_some_times_and_then_nobody_answered(served: Served) -> None:
    served.store.unavailable = 10
    async with served.client() as limits, limits.exchange() as stream:
        with pytest.raises(LimiterAway):
            await stream.charge(5, tenant="acme")

    assert len(served.store.batches) == 3


async def test_a_call_that_is_refused_hurts_no_other(served: Served) -> None:
    async with served.client() as limits, limits.exchange() as stream:
        long = "x" * 200
        bad, good = await asyncio.gather(
            stream.charge(1, request_id=long, tenant="acme"), stream.charge(1, tenant="acme"), return_exceptions=True
        )

    assert isinstance(bad, LimiterRefused)
    assert "request_id" in str(bad)
    assert not isinstance(good, BaseException)


async def test_a_wrong_token_is_refused(served: Served) -> None:
    async with served.client(token="wrong") as limits, limits.exchange() as stream:
        with pytest.raises(LimiterRefused, match="PERMISSION_DENIED"):
            await stream.charge(tenant="acme")


async def test_a_stream_that_is_refused_is_told_to_all_who_wait(served: Served) -> None:
    async with served.client() as limits, limits.exchange() as stream:
        path = "/weir.ratelimit.v1.LimiterService/Nothing"
        stream._open_stream = limits._channel.stream_stream(path, ExchangeRequest.SerializeToString)
        with pytest.raises(LimiterRefused, match="UNIMPLEMENTED"):
            await stream.charge(tenant="acme")


async def test_a_service_that_says_nothing_is_not_waited_for_longer_than_a_call_may_take(served: Served) -> None:
    served.store.hanging = asyncio.Event()
    async with served.client(timeout_seconds=0.1, on_error="closed") as limits, limits.exchange() as stream:
        answer = await stream.charge(tenant="acme")

    assert (answer.is_allowed, answer.is_answered) == (False, False)


async def test_calls_under_way_when_the_stream_is_let_go_are_not_answered(served: Served) -> None:
    served.store.hanging = asyncio.Event()
    async with served.client(on_error="closed") as limits:
        async with limits.exchange() as stream:
            call = asyncio.create_task(stream.charge(tenant="acme"))
            async with asyncio.timeout(20):
                while not served.store.batches:  # noqa: ASYNC110 - what others do
                    await asyncio.sleep(0.005)

        assert not (await call).is_answered


@pytest.mark.parametrize("on_error", ["open", "closed"])
async def test_where_nobody_answers_the_client_does_what_it_was_told(on_error: Any) -> None:
    target = f"127.0.0.1:{free_port()}"
    async with (
        LimiterClient(target, domain="llm", on_error=on_error, timeout_seconds=0.3) as limits,
        limits.exchange() as stream,
    ):
        answer = await stream.charge(tenant="acme")

    assert (answer.is_allowed, answer.is_answered) == (on_error == "open", False)


async def test_a_call_that_may_wait_longer_is_sent_again_once_the_least_patient_one_has_given_up(
    served: Served,
) -> None:
    async with (
        served.client(timeout_seconds=2.0, settle_timeout_seconds=30.0, on_error="open") as limits,
        limits.exchange() as stream,
        stream.reserve(800, tenant="acme") as hold,
    ):
        served.store.hanging = asyncio.Event()
        gone = await stream.charge(1, tenant="other")
        served.store.hanging.set()
        hold.settle(300)

    assert not gone.is_answered
    assert await spent(served) == (300, 0)


async def test_a_stream_that_ends_or_answers_what_nobody_asked_hurts_no_call(served: Served) -> None:
    async with served.client() as limits, limits.exchange() as stream:
        real, opened = stream._open_stream, list[str]()
        strange = limits._channel.stream_stream(ODD, ExchangeRequest.SerializeToString, ExchangeResponse.FromString)

        def open_stream() -> Any:
            opened.append("")
            return strange() if len(opened) == 1 else real()

        stream._open_stream = open_stream
        answer = await stream.charge(5, tenant="acme")

    assert (answer.is_answered, len(opened), await spent(served)) == (True, 2, (5, 0))


async def test_an_answer_that_comes_as_its_caller_leaves_is_nobodys() -> None:
    waiting = _Waiting(ExchangeRequest.Call(), 1.0)
    waiting.answered.cancel()
    waiting.end(None)

    assert waiting.answered.cancelled()


async def test_what_never_began_is_let_go_of_all_the_same(served: Served) -> None:
    async with served.client() as limits:
        exchange = Exchange(
            limits._channel.stream_stream(ODD),
            calls_max=1,
            in_flight_max=1,
            domain="llm",
            on_error="open",
            timeout_seconds=1.0,
            settle_timeout_seconds=1.0,
        )
        await exchange.stop()

        assert exchange._waiting == {}
