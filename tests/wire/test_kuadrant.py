"""Kuadrant's service by raw messages, over both transports: field numbers as `kuadrantrls.proto` has them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest

from ratelimit.rights import CallerRule, Role
from serving.clock import SystemClock
from serving.front import FrontServer
from serving.grpc_server import GrpcServer
from serving.settings import GrpcSettings
from tests.fakes.desks import EVERYONE, Apis

RULES = """
domain: ns/chat
descriptors:
  - key: limit.free
    value: "1"
    descriptors:
      - key: auth.identity.userid
        rate_limit: {amount: 1000, window: 1h, reserve: {ttl: 60s, max_fraction: 0.5}}
"""
OK, OVER_LIMIT = b"\x08\x01", b"\x08\x02"


def text(field: int, value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return bytes([field << 3 | 2, len(data)]) + data


def number(field: int, value: int) -> bytes:
    if value < 128:
        return bytes([field << 3, value])
    return bytes([field << 3, value & 127 | 128, value >> 7])


def entry(key: str, value: str) -> bytes:
    return text(1, text(1, key) + text(2, value))


DESCRIPTORS = text(2, entry("limit.free", "1") + entry("auth.identity.userid", "alice"))
HEAD = text(1, "ns/chat") + DESCRIPTORS


class Gateway:
    """Speaks as Kuadrant's filter does."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def ask(self, method: str, message: bytes) -> bytes:
        answer: bytes = await self._channel.unary_unary(f"/kuadrant.service.ratelimit.v1.RateLimitService/{method}")(
            message
        )
        return answer

    async def check(self) -> bytes:
        """Return the overall code."""
        return (await self.ask("CheckRateLimit", HEAD))[:2]

    async def report(self, hits: int) -> bytes:
        return (await self.ask("Report", HEAD + (number(3, hits) if hits else b"")))[:2]

    async def reserve(self, amount: int) -> tuple[bytes, bytes]:
        """Return the code and the id."""
        answer = await self.ask("Reserve", HEAD + number(3, amount))
        return answer[:2], answer[4:]

    async def commit(self, reservation_id: bytes, amount: int) -> bytes:
        return await self.ask("Commit", HEAD + text(3, reservation_id) + (number(4, amount) if amount else b""))


@pytest.fixture
def callers() -> tuple[CallerRule, ...]:
    return (EVERYONE,)


@pytest.fixture
async def gateway(transport: type[GrpcServer | FrontServer], callers: tuple[CallerRule, ...]) -> AsyncIterator[Gateway]:
    apis = await Apis(RULES, callers=callers, clock=SystemClock()).start()
    settings = GrpcSettings(grpc_host="127.0.0.1", grpc_port=0)
    server = transport(settings, apis.own.methods(), SystemClock(), apis.registry)
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield Gateway(channel)
    await server.stop()


async def test_a_check_asks_for_one_hit_and_spends_nothing(gateway: Gateway) -> None:
    await gateway.report(999)
    checks = [await gateway.check() for _ in range(3)]
    await gateway.report(0)

    assert checks == [OK] * 3
    assert await gateway.check() == OVER_LIMIT


async def test_a_report_is_spent_whatever_is_left_and_answered_with_ok(gateway: Gateway) -> None:
    assert [await gateway.report(900) for _ in range(2)] == [OK, OK]
    assert await gateway.check() == OVER_LIMIT


async def test_what_is_reserved_is_not_there_for_others(gateway: Gateway) -> None:
    (first, _), (second, _), (third, nothing) = [await gateway.reserve(500) for _ in range(3)]

    assert (first, second, third, nothing) == (OK, OK, OVER_LIMIT, b"")
    assert await gateway.check() == OVER_LIMIT


async def test_a_commit_replaces_the_estimate_by_the_actual(gateway: Gateway) -> None:
    _, reservation_id = await gateway.reserve(500)
    released = await gateway.commit(reservation_id, 100)
    codes = [(await gateway.reserve(450))[0] for _ in range(3)]

    assert released == b"\x08\x01"
    assert codes == [OK, OK, OVER_LIMIT]


async def test_a_commit_of_nothing_gives_all_back(gateway: Gateway) -> None:
    _, reservation_id = await gateway.reserve(500)
    released = await gateway.commit(reservation_id, 0)
    codes = [(await gateway.reserve(500))[0] for _ in range(3)]

    assert released == b"\x08\x01"
    assert codes == [OK, OK, OVER_LIMIT]


async def test_an_estimate_is_cut_to_the_rules_share(gateway: Gateway) -> None:
    codes = [(await gateway.reserve(900))[0] for _ in range(3)]

    assert codes == [OK, OK, OVER_LIMIT]


@pytest.mark.parametrize("reservation_id", [b"", b"never-given"])
async def test_a_commit_of_an_unknown_reservation_is_a_report(gateway: Gateway, reservation_id: bytes) -> None:
    released = await gateway.commit(reservation_id, 1000)

    assert released == b""
    assert await gateway.check() == OVER_LIMIT


async def test_a_commit_that_is_repeated_counts_once(gateway: Gateway) -> None:
    _, reservation_id = await gateway.reserve(500)
    answers = [await gateway.commit(reservation_id, 400) for _ in range(3)]
    codes = [(await gateway.reserve(300))[0] for _ in range(3)]

    assert answers == [b"\x08\x01", b"", b""]
    assert codes == [OK, OK, OVER_LIMIT]


async def test_a_domain_without_rules_limits_nothing(gateway: Gateway) -> None:
    answer = await gateway.ask("CheckRateLimit", text(1, "other") + DESCRIPTORS)

    assert answer[:2] == OK


@pytest.mark.parametrize("message", [DESCRIPTORS, text(1, "ns/chat"), HEAD + text(2, entry("a", "b") + b"\x20\x01")])
async def test_what_cannot_be_answered_is_said_to_be_the_callers_fault(gateway: Gateway, message: bytes) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await gateway.ask("CheckRateLimit", message)

    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("callers", [(CallerRule(anyone=True, roles=frozenset({Role.ASK})),)])
async def test_who_may_only_ask_does_not_report(gateway: Gateway) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await gateway.report(1)

    assert (await gateway.check(), raised.value.code()) == (OK, grpc.StatusCode.UNAUTHENTICATED)
