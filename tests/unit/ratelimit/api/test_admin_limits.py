from __future__ import annotations

from typing import Any

import pytest

from protos.interop.rls.v1 import rls_pb2
from protos.ratelimit.v1 import admin_pb2 as wire
from protos.ratelimit.v1 import limiter_pb2
from ratelimit.dynamic_limit import PAGE_MAX, DynamicLimit, Page
from ratelimit.errors import StoreTimeout, StoreUnavailable
from ratelimit.rights import CallerRule, Role, holder_of
from ratelimit.stores.memory_limits import MemoryLimits
from serving.calls import Caller, StatusCode
from serving.rights import digest
from tests.fakes.clock import FakeClock
from tests.fakes.desks import Apis

RULES = """domain: llm
descriptors:
  - key: tenant
    rate_limit: {unit: minute, requests_per_unit: 100, ceiling: 1000}
    descriptors:
      - key: model
        rate_limit:
          limits:
            - {unit: hour, amount: 50, ceiling: 500}
            - {unit: hour, amount: 70, ceiling: 700, algorithm: sliding_window}
            - {window: 5h, amount: 500}
  - key: tenant
    value: vip
    rate_limit: {unlimited: true}
  - key: region
"""
SEVERAL = "hour (fixed_window), hour (sliding_window), 18000s (fixed_window)"


@pytest.fixture
async def apis() -> Apis:
    return await Apis(RULES).start()


def descriptor(**entries: str) -> limiter_pb2.Descriptor:
    return limiter_pb2.Descriptor(entries=[limiter_pb2.Entry(key=key, value=value) for key, value in entries.items()])


def setting(amount: int | None, /, window: str = "", algorithm: str = "", **fields: Any) -> wire.SetLimitRequest:
    entries = {key: value for key, value in fields.items() if key in {"tenant", "model", "region", "user"}}
    others = {key: value for key, value in fields.items() if key not in entries}
    return wire.SetLimitRequest(
        domain="llm", descriptor=descriptor(**entries), amount=amount, window=window, algorithm=algorithm, **others
    )


async def put(apis: Apis, *arguments: Any, **fields: Any) -> wire.DynamicLimit:
    return (await apis.ask("SetLimit", setting(*arguments, **fields), wire.SetLimitResponse)).limit


async def listed(apis: Apis, **request: Any) -> list[tuple[str, int]]:
    answer = await apis.ask("ListLimits", wire.ListLimitsRequest(**request), wire.ListLimitsResponse)
    return [(",".join(entry.value for entry in each.entries), each.amount) for each in answer.limits]


async def counter(apis: Apis, **entries: str) -> limiter_pb2.Counter:
    request = wire.GetCountersRequest(domain="llm", descriptors=[descriptor(**entries)])
    return (await apis.ask("GetCounters", request, wire.GetCountersResponse)).statuses[0].counters[0]


async def test_a_limit_that_is_set_is_in_force_here_at_once_and_told_with_what_the_rule_says(apis: Apis) -> None:
    put_limit = await put(apis, 400, tenant="acme")
    found = await counter(apis, tenant="acme")

    assert (put_limit.rule, put_limit.own_amount, put_limit.ceiling) == ("llm.tenant", 100, 1000)
    assert (put_limit.amount, put_limit.version, put_limit.HasField("end")) == (400, 1, False)
    assert (found.limit, found.own_limit, found.ceiling, found.remaining) == (400, 100, 1000, 400)


async def test_an_explanation_shows_what_is_in_force(apis: Apis) -> None:
    await put(apis, 400, tenant="acme")
    request = wire.ExplainRequest(
        domain="llm", descriptors=[descriptor(tenant="acme")], amount=limiter_pb2.Amount(hits=300)
    )
    answer = await apis.ask("Explain", request, wire.ExplainResponse)

    assert answer.verdict.code == limiter_pb2.CODE_OK
    assert answer.verdict.statuses[0].counters[0].limit == 400
    assert "ceiling: 1000" in answer.explanations[0].traits


async def test_a_limit_that_nobody_changed_is_told_without_one_of_its_own(apis: Apis) -> None:
    await put(apis, 400, tenant="acme")
    found = await counter(apis, tenant="other")

    assert (found.limit, found.HasField("own_limit"), found.ceiling) == (100, False, 1000)


async def test_every_way_to_ask_is_held_to_it(apis: Apis) -> None:
    await put(apis, 3, tenant="acme")
    common = {"domain": "llm", "descriptors": [descriptor(tenant="acme")]}
    reserve = limiter_pb2.ReserveRequest(**common, amount=limiter_pb2.Amount(hits=3))
    held = await apis.ask("Reserve", reserve, limiter_pb2.ReserveResponse)
    charge = limiter_pb2.ChargeRequest(**common, amount=limiter_pb2.Amount(hits=1))
    charged = await apis.ask("Charge", charge, limiter_pb2.ChargeResponse)

    assert (held.verdict.code, charged.verdict.code) == (limiter_pb2.CODE_OK, limiter_pb2.CODE_OVER_LIMIT)


async def test_kuadrants_gateways_are_held_to_it(apis: Apis) -> None:
    await put(apis, 3, tenant="acme")
    request = rls_pb2.RateLimitRequest(domain="llm")
    request.descriptors.add().entries.add(key="tenant", value="acme")
    request.hits_addend = 3
    await apis.ask("Kuadrant.Report", request, rls_pb2.RateLimitResponse)
    answer = await apis.ask("Kuadrant.CheckRateLimit", request, rls_pb2.RateLimitResponse)

    assert answer.overall_code == rls_pb2.RateLimitResponse.OVER_LIMIT


async def test_callers_whose_plans_are_remembered_hear_of_a_change(apis: Apis) -> None:
    common = {"domain": "llm", "descriptors": [descriptor(tenant="acme")]}
    request = limiter_pb2.CheckRequest(**common, amount=limiter_pb2.Amount(hits=200))
    codes = [(await apis.ask("Check", request, limiter_pb2.CheckResponse)).verdict.code]
    await put(apis, 400, tenant="acme")
    codes.append((await apis.ask("Check", request, limiter_pb2.CheckResponse)).verdict.code)

    assert codes == [limiter_pb2.CODE_OVER_LIMIT, limiter_pb2.CODE_OK]


async def test_a_cleared_limit_is_the_rules_own_again(apis: Apis) -> None:
    await put(apis, 400, tenant="acme")
    request = wire.ClearLimitRequest(domain="llm", descriptor=descriptor(tenant="acme"))
    answers = [await apis.ask("ClearLimit", request, wire.ClearLimitResponse) for _ in range(2)]

    assert [(answer.cleared, answer.version) for answer in answers] == [(True, 2), (False, 0)]
    assert (await counter(apis, tenant="acme")).limit == 100


async def test_a_limit_with_a_life_tells_its_end_and_ends(apis: Apis) -> None:
    request = setting(400, tenant="acme")
    request.ttl.FromSeconds(60)
    answer = await apis.ask("SetLimit", request, wire.SetLimitResponse)
    apis.clock.advance(60)  # type: ignore[attr-defined]
    await apis.refreshing.refresh()

    assert answer.limit.end.seconds == 1_700_007_660
    assert (await counter(apis, tenant="acme")).limit == 100
    assert await listed(apis) == []


@pytest.mark.parametrize(
    ("window", "algorithm", "changed"),
    [("hour", "fixed_window", "hour"), ("1h", "fixed_window", "hour"), ("", "sliding_window", "hour")],
)
async def test_of_several_limits_one_is_named_by_its_window_and_algorithm(
    apis: Apis, window: str, algorithm: str, changed: str
) -> None:
    limit = await put(apis, 60 if algorithm == "fixed_window" else 80, window, algorithm, tenant="a", model="b")

    assert (limit.window, limit.algorithm) == (changed, algorithm)


@pytest.mark.parametrize(
    ("request_", "status", "detail"),
    [
        (setting(5, user="x"), StatusCode.NOT_FOUND, "descriptor: no rule limits it"),
        (setting(5, region="x"), StatusCode.NOT_FOUND, "descriptor: no rule limits it"),
        (setting(5, tenant="vip"), StatusCode.FAILED_PRECONDITION, "rules.yaml:14: is unlimited"),
        (
            setting(5, "5h", tenant="a", model="b"),
            StatusCode.FAILED_PRECONDITION,
            "the rule at rules.yaml:8 has no ceiling, so its amount stands as it is written",
        ),
        (
            setting(1001, tenant="a"),
            StatusCode.INVALID_ARGUMENT,
            "amount: 1001, at most 1000 is taken (ceiling, rules.yaml:4)",
        ),
        (setting(None, tenant="a"), StatusCode.INVALID_ARGUMENT, "amount: is missing"),
        (
            setting(5, "hour", tenant="a", model="b"),
            StatusCode.INVALID_ARGUMENT,
            f"window: does not name one of the rule's limits, which are {SEVERAL}",
        ),
        (setting(5, tenant="a", ttl={}), StatusCode.INVALID_ARGUMENT, "ttl: is 0"),
        (setting(5, tenant="a", expected_version=7), StatusCode.ABORTED, "expected_version: the limit is not there"),
    ],
)
async def test_what_cannot_be_set_is_refused_with_the_reason(
    apis: Apis, request_: wire.SetLimitRequest, status: StatusCode, detail: str
) -> None:
    failure = await apis.failure("SetLimit", request_)

    assert (failure.status, failure.detail) == (status, detail)
    assert await listed(apis) == []


async def test_a_change_that_expects_another_version_is_aborted(apis: Apis) -> None:
    first = await put(apis, 400, tenant="acme")
    await put(apis, 500, tenant="acme", expected_version=first.version)
    late = await apis.failure("SetLimit", setting(600, tenant="acme", expected_version=first.version))
    clear = wire.ClearLimitRequest(domain="llm", descriptor=descriptor(tenant="acme"), expected_version=first.version)
    cleared = await apis.failure("ClearLimit", clear)

    assert {(each.status, each.detail) for each in (late, cleared)} == {
        (StatusCode.ABORTED, "expected_version: the limit has version 2 by now")
    }


async def test_more_than_there_is_room_for_is_refused(apis: Apis) -> None:
    for tenant in "abc":
        await put(apis, 400, tenant=tenant)
    failure = await apis.failure("SetLimit", setting(400, tenant="d"))

    assert failure.status == StatusCode.RESOURCE_EXHAUSTED
    assert "DYNAMIC_LIMITS_MAX" in failure.detail


async def test_limits_are_listed_page_by_page_in_the_order_of_their_change(apis: Apis) -> None:
    for tenant in "abc":
        await put(apis, 400, tenant=tenant)
    await put(apis, 401, tenant="a")
    first = await apis.ask("ListLimits", wire.ListLimitsRequest(page_size=2), wire.ListLimitsResponse)

    assert [each.entries[0].value for each in first.limits] == ["b", "c"]
    assert first.version == 4
    assert await listed(apis, page_size=2, page_token=first.next_page_token) == [("a", 401)]
    assert await listed(apis, domain="another") == []


async def test_a_page_token_is_one_that_was_given(apis: Apis) -> None:
    failure = await apis.failure("ListLimits", wire.ListLimitsRequest(page_token="x"))

    assert failure.detail == "page_token: is none that a page before gave"


async def test_what_the_rules_have_no_place_for_any_more_is_listed_as_such_and_can_be_cleared(apis: Apis) -> None:
    await put(apis, 400, tenant="acme")
    await apis.load(RULES.replace("unit: minute", "unit: day"))
    answer = await apis.ask("ListLimits", wire.ListLimitsRequest(), wire.ListLimitsResponse)
    request = wire.ClearLimitRequest(domain="llm", descriptor=descriptor(tenant="acme"), window="minute")
    cleared = await apis.ask("ClearLimit", request, wire.ClearLimitResponse)

    assert [(each.window, each.rule, each.ceiling) for each in answer.limits] == [("minute", "", 0)]
    assert (cleared.cleared, (await counter(apis, tenant="acme")).limit) == (True, 100)


async def test_where_no_rule_has_it_any_more_what_is_to_be_cleared_is_named_in_full(apis: Apis) -> None:
    request = wire.ClearLimitRequest(domain="llm", descriptor=descriptor(user="x"))

    assert (await apis.failure("ClearLimit", request)).status == StatusCode.NOT_FOUND


class Away(MemoryLimits):
    """A store that does not answer."""

    async def read(self, after: int, *, most: int = PAGE_MAX, deadline: float) -> Page:
        del after, most, deadline
        raise StoreUnavailable("away")

    async def put(
        self, name: str, amount: int, *, ttl_ms: int, expected_version: int | None, deadline: float
    ) -> DynamicLimit:
        del name, amount, ttl_ms, expected_version, deadline
        raise StoreTimeout("no answer")


async def test_a_store_that_does_not_answer_is_told_with_what_may_have_happened() -> None:
    apis = Apis(RULES, limits=Away(FakeClock(), limits_max=1))
    await apis.start()
    put_failure = await apis.failure("SetLimit", setting(5, tenant="a"))
    list_failure = await apis.failure("ListLimits", wire.ListLimitsRequest())

    assert (put_failure.status, put_failure.detail) == (
        StatusCode.DEADLINE_EXCEEDED,
        "no answer; it may have been changed",
    )
    assert (list_failure.status, list_failure.detail) == (StatusCode.UNAVAILABLE, "away")


async def test_only_who_may_administer_the_domain_changes_its_limits() -> None:
    mine = CallerRule(token_sha256=digest("mine"), roles=frozenset({Role.ADMINISTER}), domains=("llm",))
    asker = CallerRule(token_sha256=digest("ask"), roles=frozenset({Role.ASK, Role.SETTLE, Role.REFUND}))
    apis = await Apis(RULES, callers=(mine, asker, holder_of("all"))).start()

    async def passes(token: str, name: str, request: Any) -> bool:
        return isinstance((await apis.replies(name, request, caller=Caller("p", token=token)))[0], bytes)

    everything = {
        token: [
            await passes(token, "SetLimit", setting(5, tenant="a")),
            await passes(token, "ListLimits", wire.ListLimitsRequest(domain="llm")),
            await passes(token, "ListLimits", wire.ListLimitsRequest()),
            await passes(token, "ClearLimit", wire.ClearLimitRequest(domain="llm", descriptor=descriptor(tenant="a"))),
        ]
        for token in ("mine", "ask", "all")
    }
    assert everything == {"mine": [True, True, False, True], "ask": [False] * 4, "all": [True] * 4}


async def test_values_and_ids_are_shown_as_hash_values_says() -> None:
    apis = await Apis(RULES, show=lambda value: f"<{len(value)}>").start()
    put_limit = await put(apis, 400, tenant="secret")
    common = {"domain": "llm", "descriptors": [descriptor(tenant="secret")]}
    reserve = limiter_pb2.ReserveRequest(**common, request_id="hidden-id")
    await apis.ask("Reserve", reserve, limiter_pb2.ReserveResponse)
    request = wire.ListHoldsRequest(domain="llm", descriptor=descriptor(tenant="secret"), page_size=1)
    held = await apis.ask("ListHolds", request, wire.ListHoldsResponse)

    assert [entry.value for entry in put_limit.entries] == ["<6>"]
    assert await listed(apis) == [("<6>", 400)]
    assert [hold.id for hold in held.holds] == ["<9>"]
    assert "hidden" not in str(held)
