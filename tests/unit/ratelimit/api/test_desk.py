from __future__ import annotations

import pytest

from protos.interop.rls.v1 import rls_pb2 as rls
from protos.ratelimit.v1 import admin_pb2, limiter_pb2
from ratelimit.api.desk import failure_of
from ratelimit.errors import StoreError, StoreRefused, StoreTimeout, StoreUnavailable
from serving.calls import StatusCode
from tests.fakes.desks import Apis

RULES = """
domain: llm
descriptors:
  - key: tenant
    rate_limit: {unit: minute, requests_per_unit: 1000, name: narrow, replaces: [{name: wide}]}
  - key: region
    rate_limit: {unit: minute, requests_per_unit: 1000, name: wide}
"""
ACME = limiter_pb2.Descriptor(entries=[limiter_pb2.Entry(key="tenant", value="acme")])


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (StoreUnavailable("away"), StatusCode.UNAVAILABLE, "away"),
        (StoreTimeout("slow"), StatusCode.DEADLINE_EXCEEDED, "slow; it may have been counted"),
        (StoreRefused("slots"), StatusCode.FAILED_PRECONDITION, "slots"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, StoreError) else "",
)
def test_a_caller_is_told_whether_it_may_have_been_counted(error: StoreError, status: StatusCode, detail: str) -> None:
    failure = failure_of(error)

    assert (failure.status, failure.detail) == (status, detail)


async def test_descriptors_and_kinds_have_a_largest_number() -> None:
    apis = await Apis(RULES).start()
    many = await apis.failure("Check", limiter_pb2.CheckRequest(domain="llm", descriptors=[ACME] * 101))
    kinds = limiter_pb2.Amount(kinds={str(number): 1 for number in range(33)})
    kinded = await apis.failure("Check", limiter_pb2.CheckRequest(domain="llm", descriptors=[ACME], amount=kinds))

    assert many.detail == "descriptors: 101 of them, at most 100 are taken"
    assert kinded.detail == "amount.kinds: 33 of them, at most 32 are taken"


async def test_calls_are_counted_by_their_outcome() -> None:
    apis = await Apis(RULES).start()
    for hits in (1000, 1):
        request = limiter_pb2.ChargeRequest(domain="llm", descriptors=[ACME], amount=limiter_pb2.Amount(hits=hits))
        await apis.ask("Charge", request, limiter_pb2.ChargeResponse)
    await apis.failure("Charge", limiter_pb2.ChargeRequest())
    counted = {
        sample.labels["outcome"]: sample.value
        for sample in apis.registry.samples()
        if sample.name == "weir.limiter.calls" and sample.labels["method"] == "Charge"
    }

    assert counted == {"ok": 1, "over_limit": 1, "failed": 1}


async def test_an_explanation_says_that_another_rule_replaces_this_one() -> None:
    apis = await Apis(RULES).start()
    wide = limiter_pb2.Descriptor(entries=[limiter_pb2.Entry(key="region", value="eu")])
    request = admin_pb2.ExplainRequest(domain="llm", descriptors=[ACME, wide])
    response = await apis.ask("Explain", request, admin_pb2.ExplainResponse)

    assert response.explanations[1].why.endswith("; but another rule of this request replaces it")
    assert list(response.explanations[1].keys) == []


async def test_a_kuadrant_call_with_a_phase_that_does_not_exist_is_the_callers_fault() -> None:
    apis = await Apis(RULES).start()
    entries = [rls.RateLimitDescriptor.Entry(key="_phase", value="sometime")]
    request = rls.RateLimitRequest(domain="llm", descriptors=[rls.RateLimitDescriptor(entries=entries)])
    failure = await apis.failure("Kuadrant.CheckRateLimit", request)

    assert failure.status == StatusCode.INVALID_ARGUMENT


async def test_global_shadow_mode_refuses_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHADOW_MODE", "true")
    apis = await Apis(RULES).start()
    request = limiter_pb2.ChargeRequest(domain="llm", descriptors=[ACME], amount=limiter_pb2.Amount(hits=2000))
    response = await apis.ask("Charge", request, limiter_pb2.ChargeResponse)

    assert response.verdict.code == limiter_pb2.CODE_OK
    assert response.verdict.statuses[0].counters[0].spent == 2000


def test_every_service_is_described_under_its_own_name() -> None:
    names = {name: service.name for name, service in Apis(RULES).own.described().items()}

    assert names == {
        "kuadrant.service.ratelimit.v1.RateLimitService": "RateLimitService",
        "weir.ratelimit.v1.AdminService": "AdminService",
        "weir.ratelimit.v1.LimiterService": "LimiterService",
    }
