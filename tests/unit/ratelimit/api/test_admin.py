from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from protos.ratelimit.v1 import admin_pb2 as wire
from protos.ratelimit.v1 import limiter_pb2
from ratelimit.errors import StoreUnavailable
from ratelimit.rights import CallerRule, Role, holder_of
from ratelimit.store import Admission, AdmissionOutcome, Ledger, Outcome
from ratelimit.stores.memory import MemoryStore
from serving.calls import Caller, StatusCode
from serving.rights import digest
from tests.fakes.desks import Apis

RULES = """domain: llm
descriptors:
  - key: tenant
    rate_limit: {unit: minute, requests_per_unit: 1000}
    descriptors:
      - key: model
        value: gpt*
        shadow_mode: true
        rate_limit:
          limits: [{amount: 100, window: 1m, algorithm: sliding_window}, {amount: 5000, window: 5h}]
          reserve: {ttl: 30s}
          weights: {output: 4}
  - key: tenant
    value: vip
    rate_limit: {unlimited: true}
  - key: region
    descriptors:
      - key: zone
        rate_limit: {unit: day, requests_per_unit: 1, name: zones, replaces: [{name: other}]}
"""


@pytest.fixture
async def apis() -> Apis:
    return await Apis(RULES).start()


def descriptor(**entries: str) -> limiter_pb2.Descriptor:
    return limiter_pb2.Descriptor(entries=[limiter_pb2.Entry(key=key, value=value) for key, value in entries.items()])


async def charge(apis: Apis, hits: int, *descriptors: limiter_pb2.Descriptor) -> None:
    request = limiter_pb2.ChargeRequest(
        domain="llm", descriptors=descriptors, amount=limiter_pb2.Amount(hits=hits), force=True
    )
    await apis.ask("Charge", request, limiter_pb2.ChargeResponse)


def spent(statuses: Any) -> list[int]:
    return [counter.spent for status in statuses for counter in status.counters]


async def explained(apis: Apis, **entries: str) -> wire.Explanation:
    request = wire.ExplainRequest(domain="llm", descriptors=[descriptor(**entries)])
    return (await apis.ask("Explain", request, wire.ExplainResponse)).explanations[0]


async def test_an_explanation_tells_the_way_the_place_and_what_the_rule_says(apis: Apis) -> None:
    found = await explained(apis, tenant="acme", model="gpt-4o")

    assert [(turn.entry.value, turn.node, turn.how) for turn in found.turns] == [
        ("acme", "tenant", "key"),
        ("gpt-4o", "model_gpt*", "pattern"),
    ]
    assert (found.rule, found.file, found.line) == ("llm.tenant.model_gpt*", "rules.yaml", 10)
    assert list(found.traits) == ["shadow_mode", "on_deny: keep", "reserve: 30s", "weights: output 4"]
    assert [key.partition("#")[0] for key in found.keys] == ["w1:{llm|tenant=acme|model=gpt-4o}"] * 2


async def test_an_explanation_names_the_counter_of_a_plain_rule_as_it_is_in_the_store(apis: Apis) -> None:
    found = await explained(apis, tenant="acme")

    assert list(found.keys) == [f"llm_tenant_acme_{int(apis.clock.wall()) // 60 * 60}"]


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ({"tenant": "vip"}, "its last entry ends at llm.tenant_vip, which is unlimited"),
        ({"user": "x"}, "no node at the top of the domain fits user=x, so nothing limits it"),
        ({"tenant": "a", "model": "b"}, "no node below tenant fits model=b, so nothing limits it"),
        ({"region": "eu"}, "it ends at region, which has no limit; nodes below it want further entries"),
    ],
)
async def test_what_is_not_limited_is_told_why(apis: Apis, entries: dict[str, str], why: str) -> None:
    assert (await explained(apis, **entries)).why == why


async def test_an_explanation_spends_nothing_and_says_whether_it_would_fit(apis: Apis) -> None:
    request = wire.ExplainRequest(
        domain="llm", descriptors=[descriptor(tenant="acme")], amount=limiter_pb2.Amount(hits=1001)
    )
    answers = [await apis.ask("Explain", request, wire.ExplainResponse) for _ in range(2)]

    assert [answer.verdict.code for answer in answers] == [limiter_pb2.CODE_OVER_LIMIT] * 2
    assert spent(answers[1].verdict.statuses) == [0]


async def test_counters_that_cannot_be_read_are_not_there_and_not_zero() -> None:
    class AwayStore(MemoryStore):
        async def admit(
            self, ledgers: Sequence[Ledger], admissions: Sequence[Admission], now: float
        ) -> tuple[Sequence[Outcome], Sequence[AdmissionOutcome]]:
            await super().admit(ledgers, (), now)
            return [], [StoreUnavailable("away")] * len(admissions)

    apis = await Apis(RULES, store=AwayStore(10)).start()

    failure = await apis.failure(
        "GetCounters", wire.GetCountersRequest(domain="llm", descriptors=[descriptor(tenant="acme")])
    )

    assert failure.status is StatusCode.UNAVAILABLE


async def test_nobody_is_listed_where_spenders_are_not_remembered(apis: Apis) -> None:
    apis.own.admin._spenders = None
    await charge(apis, 5, descriptor(tenant="a"))

    assert await apis.ask("ListSpenders", wire.ListSpendersRequest(), wire.ListSpendersResponse) == (
        wire.ListSpendersResponse()
    )


async def test_counters_are_read_with_what_is_held(apis: Apis) -> None:
    wanted = descriptor(tenant="acme", model="gpt-4o")
    await charge(apis, 10, wanted)
    reserve = limiter_pb2.ReserveRequest(domain="llm", descriptors=[wanted], amount=limiter_pb2.Amount(hits=30))
    await apis.ask("Reserve", reserve, limiter_pb2.ReserveResponse)
    request = wire.GetCountersRequest(domain="llm", descriptors=[wanted])
    answer = await apis.ask("GetCounters", request, wire.GetCountersResponse)

    counters = [(each.spent, each.held, each.remaining, each.window) for each in answer.statuses[0].counters]
    assert counters == [(10, 30, 60, "minute"), (10, 30, 4960, "18000s")]


async def test_a_reset_gives_back_all_that_was_spent_and_leaves_holds(apis: Apis) -> None:
    wanted = [descriptor(tenant="acme"), descriptor(tenant="acme", model="gpt-4o")]
    await charge(apis, 70, *wanted)
    reserve = limiter_pb2.ReserveRequest(domain="llm", descriptors=wanted[1:], amount=limiter_pb2.Amount(hits=10))
    await apis.ask("Reserve", reserve, limiter_pb2.ReserveResponse)
    request = wire.ResetCountersRequest(domain="llm", descriptors=wanted)
    answer = await apis.ask("ResetCounters", request, wire.ResetCountersResponse)

    assert (spent(answer.before), spent(answer.after)) == ([70, 70, 70], [0, 0, 0])
    assert [counter.held for counter in answer.after[1].counters] == [10, 10]


async def test_a_grant_gives_back_an_amount_once_for_its_id(apis: Apis) -> None:
    await charge(apis, 70, descriptor(tenant="acme"))
    request = wire.GrantRequest(
        domain="llm", descriptors=[descriptor(tenant="acme")], amount=limiter_pb2.Amount(hits=30), request_id="x"
    )
    answers = [await apis.ask("Grant", request, wire.GrantResponse) for _ in range(2)]

    assert [spent(answer.statuses) for answer in answers] == [[40], [40]]


async def test_a_grant_needs_an_amount(apis: Apis) -> None:
    failure = await apis.failure("Grant", wire.GrantRequest(domain="llm", descriptors=[descriptor(tenant="a")]))

    assert (failure.status, failure.detail) == (StatusCode.INVALID_ARGUMENT, "amount: is missing")


async def test_spenders_are_listed_by_what_they_spent_in_all_ways(apis: Apis) -> None:
    await charge(apis, 5, descriptor(tenant="a"))
    await charge(apis, 9, descriptor(tenant="b"), descriptor(tenant="b", model="gpt-4o"))
    answer = await apis.ask("ListSpenders", wire.ListSpendersRequest(count=2), wire.ListSpendersResponse)

    assert [(each.rule, each.entries[0].value, each.spent) for each in answer.spenders] == [
        ("llm.tenant", "b", 9),
        ("llm.tenant.model_gpt*", "b", 9),
    ]


async def test_what_is_refused_or_held_is_not_spent(apis: Apis) -> None:
    wanted = {"domain": "llm", "descriptors": [descriptor(tenant="a")], "amount": limiter_pb2.Amount(hits=600)}
    await apis.ask("Reserve", limiter_pb2.ReserveRequest(**wanted), limiter_pb2.ReserveResponse)
    await apis.ask("Charge", limiter_pb2.ChargeRequest(**wanted), limiter_pb2.ChargeResponse)
    answer = await apis.ask("ListSpenders", wire.ListSpendersRequest(), wire.ListSpendersResponse)

    assert list(answer.spenders) == []


async def test_rules_are_listed_with_their_places_page_by_page(apis: Apis) -> None:
    first = await apis.ask("ListRules", wire.ListRulesRequest(page_size=3), wire.ListRulesResponse)
    second = await apis.ask(
        "ListRules", wire.ListRulesRequest(page_size=3, page_token=first.next_page_token), wire.ListRulesResponse
    )
    rules = [*first.rules, *second.rules]

    assert [(rule.path, rule.line) for rule in rules] == [
        ("llm.tenant", 4),
        ("llm.tenant.model_gpt*", 10),
        ("llm.tenant_vip", 15),
        ("llm.region.zone", 19),
    ]
    assert [(limit.amount, limit.window, limit.algorithm) for limit in rules[1].limits] == [
        (100, "minute", "sliding_window"),
        (5000, "18000s", "fixed_window"),
    ]
    assert list(rules[3].traits) == ["name: zones", "replaces: other"]
    assert second.next_page_token == ""


@pytest.mark.parametrize("token", ["x", "9.3"])
async def test_a_page_is_of_the_rules_that_its_token_is_of(apis: Apis, token: str) -> None:
    failure = await apis.failure("ListRules", wire.ListRulesRequest(page_token=token))

    assert failure.detail.startswith("page_token: ")


async def test_only_who_may_administer_is_answered_and_only_for_his_domains() -> None:
    mine = CallerRule(token_sha256=digest("mine"), roles=frozenset({Role.ADMINISTER}), domains=("llm",))
    asker = CallerRule(
        token_sha256=digest("ask"), roles=frozenset({Role.ASK, Role.SETTLE, Role.REFUND}), domains=("llm",)
    )
    apis = await Apis(RULES, callers=(mine, asker, holder_of("all"))).start()

    async def passes(token: str, domain: str) -> bool:
        request = wire.ListRulesRequest(domain=domain)
        return isinstance((await apis.replies("ListRules", request, caller=Caller("p", token=token)))[0], bytes)

    answers = {
        (token, domain): await passes(token, domain) for token in ("mine", "ask", "all") for domain in ("llm", "")
    }
    assert {pair for pair, is_answered in answers.items() if is_answered} == {
        ("mine", "llm"),
        ("all", "llm"),
        ("all", ""),
    }
