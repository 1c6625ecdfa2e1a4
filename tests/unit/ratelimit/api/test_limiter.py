from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from protos.ratelimit.v1 import limiter_pb2 as wire
from serving.calls import StatusCode
from tests.fakes.clock import FakeClock
from tests.fakes.desks import Apis

RULES = """
domain: llm
descriptors:
  - key: plain
    rate_limit: {unit: minute, requests_per_unit: 1000}
  - key: requests
    rate_limit: {unit: minute, requests_per_unit: 2}
  - key: held
    rate_limit:
      limits: [{amount: 1000, window: 1m, algorithm: sliding_window}, {amount: 5000, window: 5h}]
      reserve: {ttl: 30s, default: 200, max_fraction: 0.5}
  - key: priced
    rate_limit: {amount: 1000, window: 1h, weights: {input: 1, output: 4}}
  - key: free
    rate_limit: {unlimited: true}
"""


@pytest.fixture
async def apis() -> Apis:
    return await Apis(RULES).start()


def descriptor(key: str, hits: int | None = None) -> wire.Descriptor:
    made = wire.Descriptor(entries=[wire.Entry(key=key, value="a")])
    if hits is not None:
        made.amount.hits = hits
    return made


def common(*descriptors: wire.Descriptor | str, hits: int | None = None) -> dict[str, object]:
    made = [descriptor(each) if isinstance(each, str) else each for each in descriptors]
    return {"domain": "llm", "descriptors": made, "amount": None if hits is None else wire.Amount(hits=hits)}


async def check(apis: Apis, *descriptors: wire.Descriptor | str, hits: int = 0) -> wire.Verdict:
    request = wire.CheckRequest(**common(*descriptors, hits=hits))
    return (await apis.ask("Check", request, wire.CheckResponse)).verdict


async def charge(
    apis: Apis, *descriptors: wire.Descriptor | str, hits: int | None = None, **fields: object
) -> wire.Verdict:
    request = wire.ChargeRequest(**common(*descriptors, hits=hits), **fields)
    return (await apis.ask("Charge", request, wire.ChargeResponse)).verdict


async def reserve(
    apis: Apis, *descriptors: wire.Descriptor | str, hits: int | None = None, **fields: object
) -> wire.ReserveResponse:
    request = wire.ReserveRequest(**common(*descriptors, hits=hits), **fields)
    return await apis.ask("Reserve", request, wire.ReserveResponse)


async def settle(apis: Apis, reservation_id: str, hits: int | None = None) -> wire.SettleResponse:
    amount = None if hits is None else wire.Amount(hits=hits)
    return await apis.ask(
        "Settle", wire.SettleRequest(reservation_id=reservation_id, amount=amount), wire.SettleResponse
    )


async def release(apis: Apis, reservation_id: str) -> wire.ReleaseResponse:
    return await apis.ask("Release", wire.ReleaseRequest(reservation_id=reservation_id), wire.ReleaseResponse)


async def stands(apis: Apis, key: str) -> list[tuple[int, int, int]]:
    """Return what is spent, held and left of each limit."""
    return [
        (counter.spent, counter.held, counter.remaining) for counter in (await check(apis, key)).statuses[0].counters
    ]


async def test_a_charge_spends(apis: Apis) -> None:
    verdict = await charge(apis, "plain", hits=600)

    assert verdict.code == wire.CODE_OK
    assert await stands(apis, "plain") == [(600, 0, 400)]


async def test_a_charge_without_an_amount_is_one_hit(apis: Apis) -> None:
    await charge(apis, "plain")

    assert await stands(apis, "plain") == [(1, 0, 999)]


async def test_a_refused_charge_spends_nothing_on_any_of_its_descriptors(apis: Apis) -> None:
    await charge(apis, "requests", hits=2)
    verdict = await charge(apis, "plain", "requests", hits=1)

    assert verdict.code == wire.CODE_OVER_LIMIT
    assert [status.over_limit for status in verdict.statuses] == [False, True]
    assert await stands(apis, "plain") == [(0, 0, 1000)]


async def test_a_refused_charge_says_when_to_ask_again(apis: Apis) -> None:
    verdict = await charge(apis, "requests", hits=3)

    assert verdict.retry_after == Duration(seconds=60)


async def test_a_charge_that_is_forced_is_spent_whatever_is_left(apis: Apis) -> None:
    verdict = await charge(apis, "plain", hits=1500, force=True)

    assert verdict.code == wire.CODE_OVER_LIMIT
    assert await stands(apis, "plain") == [(1500, 0, 0)]


async def test_a_charge_that_is_repeated_under_its_id_counts_once(apis: Apis) -> None:
    for _ in range(3):
        await charge(apis, "plain", hits=100, request_id="one")

    assert await stands(apis, "plain") == [(100, 0, 900)]


@pytest.mark.parametrize(("hits", "code"), [(400, wire.CODE_OK), (401, wire.CODE_OVER_LIMIT)])
async def test_a_check_says_whether_an_amount_would_fit_and_spends_nothing(
    apis: Apis, hits: int, code: wire.Code
) -> None:
    await charge(apis, "plain", hits=600)
    verdict = await check(apis, "plain", hits=hits)

    assert verdict.code == code
    assert await stands(apis, "plain") == [(600, 0, 400)]


async def test_a_reservation_holds_until_it_is_settled_and_then_spends_the_actual(apis: Apis) -> None:
    held = await reserve(apis, "plain", hits=800)
    before = await stands(apis, "plain")
    settled = await settle(apis, held.reservation_id, 300)

    assert (before, held.granted) == ([(0, 800, 200)], 800)
    assert (settled.held, await stands(apis, "plain")) == (True, [(300, 0, 700)])


async def test_a_reservation_that_does_not_fit_holds_nothing(apis: Apis) -> None:
    await reserve(apis, "plain", hits=800)
    refused = await reserve(apis, "plain", hits=201)

    assert (refused.verdict.code, refused.reservation_id) == (wire.CODE_OVER_LIMIT, "")
    assert await stands(apis, "plain") == [(0, 800, 200)]


async def test_an_estimate_above_the_share_of_one_hold_is_cut(apis: Apis) -> None:
    held = await reserve(apis, "held", hits=900)

    assert held.granted == 500
    assert await stands(apis, "held") == [(0, 500, 500), (0, 900, 4100)]


async def test_a_reservation_without_an_estimate_holds_the_rules_default(apis: Apis) -> None:
    held = await reserve(apis, "held")

    assert held.granted == 200


async def test_a_reservation_tells_when_it_ends(apis: Apis) -> None:
    held = await reserve(apis, "held", "plain", hits=1)

    assert held.deadline.ToSeconds() - apis.clock.wall() == 30


async def test_a_reservation_may_be_for_less_time_than_the_rule_gives(apis: Apis) -> None:
    clock = apis.clock
    assert isinstance(clock, FakeClock)
    held = await reserve(apis, "held", hits=100, ttl=Duration(seconds=10))
    clock.advance(11)

    assert held.deadline.ToSeconds() == clock.wall() - 1
    assert [held for _, held, _ in await stands(apis, "held")] == [0, 0]


async def test_a_released_reservation_spends_nothing(apis: Apis) -> None:
    held = await reserve(apis, "held", hits=100)
    first, second = await release(apis, held.reservation_id), await release(apis, held.reservation_id)

    assert (first.held, second.held) == (True, False)
    assert [(spent, held) for spent, held, _ in await stands(apis, "held")] == [(0, 0), (0, 0)]


async def test_a_settlement_that_is_repeated_counts_once(apis: Apis) -> None:
    held = await reserve(apis, "plain", hits=800)
    answers = [await settle(apis, held.reservation_id, 300) for _ in range(3)]

    assert [answer.held for answer in answers] == [True, False, False]
    assert await stands(apis, "plain") == [(300, 0, 700)]


async def test_a_late_settlement_is_spent(apis: Apis) -> None:
    clock = apis.clock
    assert isinstance(clock, FakeClock)
    held = await reserve(apis, "priced", hits=100)
    clock.advance(125)
    settled = await settle(apis, held.reservation_id, 70)

    assert settled.held is False
    assert await stands(apis, "priced") == [(70, 0, 930)]


async def test_a_plain_rules_settlement_is_spent_in_the_window_that_admitted_it(apis: Apis) -> None:
    clock = apis.clock
    assert isinstance(clock, FakeClock)
    held = await reserve(apis, "plain", hits=800)
    clock.advance(61)
    settled = await settle(apis, held.reservation_id, 300)

    assert settled.held is True
    assert await stands(apis, "plain") == [(0, 0, 1000)]


async def test_a_reservation_that_is_repeated_under_its_id_holds_once(apis: Apis) -> None:
    for _ in range(3):
        await reserve(apis, "plain", hits=300, request_id="one")

    assert await stands(apis, "plain") == [(0, 300, 700)]


async def test_a_settlement_without_an_amount_spends_the_estimate(apis: Apis) -> None:
    held = await reserve(apis, "plain", hits=300)
    await settle(apis, held.reservation_id)

    assert await stands(apis, "plain") == [(300, 0, 700)]


async def test_a_settlement_without_an_amount_needs_an_estimate(apis: Apis) -> None:
    held = await reserve(apis, "held")
    failure = await apis.failure("Settle", wire.SettleRequest(reservation_id=held.reservation_id))

    assert (failure.status, failure.detail) == (
        StatusCode.INVALID_ARGUMENT,
        "amount: is missing, and nothing was estimated",
    )


async def test_a_descriptor_may_spend_another_amount_than_the_others(apis: Apis) -> None:
    held = await reserve(apis, descriptor("requests", 1), "plain", hits=800)
    await settle(apis, held.reservation_id, 500)

    assert await stands(apis, "requests") == [(1, 0, 1)]
    assert await stands(apis, "plain") == [(500, 0, 500)]


@pytest.mark.parametrize(
    ("kinds", "spent"),
    [
        ({"input": 100, "output": 25}, 200),
        ({"input": 100, "cached_input": 10, "output": 25, "reasoning": 5}, 230),
        ({"audio": 7}, 7),
    ],
)
async def test_kinds_weigh_as_the_rule_says(apis: Apis, kinds: dict[str, int], spent: int) -> None:
    request = wire.ChargeRequest(domain="llm", descriptors=[descriptor("priced")], amount=wire.Amount(kinds=kinds))
    await apis.ask("Charge", request, wire.ChargeResponse)

    assert (await stands(apis, "priced"))[0][0] == spent


async def test_what_is_asked_again_is_answered_by_the_rules_in_force(apis: Apis) -> None:
    before = await check(apis, "plain", hits=1000)
    await apis.load(RULES.replace("requests_per_unit: 1000}", "requests_per_unit: 999}"))
    after = await check(apis, "plain", hits=1000)

    assert (before.code, after.code) == (wire.CODE_OK, wire.CODE_OVER_LIMIT)


async def test_what_is_too_long_to_be_remembered_is_answered_alike(apis: Apis) -> None:
    long = wire.Descriptor(entries=[wire.Entry(key="plain", value="x" * 3000)])
    first, second = await charge(apis, long, hits=600), await charge(apis, long, hits=600)

    assert (first.code, second.code) == (wire.CODE_OK, wire.CODE_OVER_LIMIT)


async def test_a_refund_stops_at_zero(apis: Apis) -> None:
    await charge(apis, "plain", hits=100)
    request = wire.RefundRequest(**common("plain", hits=150))
    await apis.ask("Refund", request, wire.RefundResponse)

    assert await stands(apis, "plain") == [(0, 0, 1000)]


async def test_what_nothing_limits_passes_and_says_so(apis: Apis) -> None:
    verdict = await charge(apis, "free", "unknown", hits=10)

    assert verdict.code == wire.CODE_OK
    assert [(status.rule, len(status.counters)) for status in verdict.statuses] == [("llm.free", 0), ("", 0)]


async def test_a_reservation_of_what_nothing_limits_can_be_settled(apis: Apis) -> None:
    held = await reserve(apis, "free", hits=10)
    settled = await settle(apis, held.reservation_id, 5)

    assert (held.granted, held.HasField("deadline")) == (0, False)
    assert (settled.verdict.code, settled.held) == (wire.CODE_OK, False)


@pytest.mark.parametrize(
    ("name", "request_", "detail"),
    [
        ("Check", wire.CheckRequest(), "domain: is missing"),
        ("Check", wire.CheckRequest(domain="llm"), "descriptors: are missing"),
        (
            "Check",
            wire.CheckRequest(domain="llm", descriptors=[wire.Descriptor()]),
            "descriptors[0].entries: are missing",
        ),
        (
            "Check",
            wire.CheckRequest(domain="llm", descriptors=[wire.Descriptor(entries=[wire.Entry()])]),
            "descriptors[0].entries: one has no key",
        ),
        ("Settle", wire.SettleRequest(), "reservation_id: is missing"),
        ("Settle", wire.SettleRequest(reservation_id="1x"), "reservation_id: is none that Reserve gave"),
        ("Release", wire.ReleaseRequest(reservation_id="2abc"), "reservation_id: is none that Reserve gave"),
        (
            "Charge",
            wire.ChargeRequest(domain="llm", descriptors=[descriptor("plain")], request_id="x" * 129),
            "request_id: 129 characters, at most 128 are taken",
        ),
        (
            "Reserve",
            wire.ReserveRequest(domain="llm", descriptors=[descriptor("plain")], ttl=Duration(seconds=-1)),
            "ttl: is negative",
        ),
    ],
)
async def test_a_bad_field_is_named(apis: Apis, name: str, request_: Message, detail: str) -> None:
    failure = await apis.failure(name, request_)

    assert (failure.status, failure.detail) == (StatusCode.INVALID_ARGUMENT, detail)


async def test_a_domain_without_rules_is_not_found(apis: Apis) -> None:
    failure = await apis.failure("Check", wire.CheckRequest(domain="x", descriptors=[descriptor("plain")]))

    assert failure.status == StatusCode.NOT_FOUND


async def test_before_the_first_rules_a_call_is_unavailable() -> None:
    failure = await Apis(RULES).failure("Check", wire.CheckRequest(domain="llm", descriptors=[descriptor("plain")]))

    assert failure.status == StatusCode.UNAVAILABLE


async def test_a_bad_call_hurts_no_other_of_its_batch(apis: Apis) -> None:
    good = wire.ChargeRequest(**common("plain", hits=1))
    replies = await apis.replies("Charge", good, wire.ChargeRequest(), good)

    assert [isinstance(reply, bytes) for reply in replies] == [True, False, True]


async def test_a_replica_that_was_started_since_settles_what_another_one_held() -> None:
    first = await Apis(RULES).start()
    second = await Apis(RULES, store=first.store, clock=first.clock).start()
    held = await reserve(first, "held", "plain", hits=100)
    settled = await settle(second, held.reservation_id, 40)

    assert settled.held
    assert await stands(second, "plain") == [(40, 0, 960)]
