"""deploy/envoy/token-budgets.yaml: asked with 0 at the request, charged with the tokens of the answer."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import Ask, StartGateway, StartService
from tests.fakes.envoy import Gateway, eventually
from weir.client import Client
from weir.demo.upstream import Upstream

RULES = """
domain: llm
descriptors:
  - key: user
    rate_limit: { unit: day, requests_per_unit: 100 }
  - key: model
    value: large*
    share_threshold: true
    rate_limit: { unit: day, requests_per_unit: 50 }
"""


async def spent(target: str, key: str, value: str) -> int:
    async with Client(target) as client:
        return (await client.ask("llm", [((key, value),)])).answers[0].spent


@pytest.mark.parametrize("is_stream", [False, True], ids=["json", "stream"])
async def test_the_tokens_of_an_answer_are_charged_to_its_user_and_its_model(
    start_service: StartService, start_gateway: StartGateway, ask: Ask, *, is_stream: bool
) -> None:
    service = await start_service(RULES)
    gateway = await start_gateway("token-budgets.yaml", {"ratelimit:8081": service.target})

    answer = await ask(gateway, model="large-1", max_tokens=30, stream=is_stream)

    async def is_charged() -> bool:
        # Two words were asked, thirty answered.
        return [await spent(service.target, *each) for each in (("user", "alice"), ("model", "large-2"))] == [32, 32]

    assert answer.status == 200
    await eventually(is_charged)


@pytest.mark.parametrize("is_stream", [False, True], ids=["json", "stream"])
async def test_who_has_spent_more_than_the_budget_is_refused_before_the_upstream_is_asked(
    start_service: StartService, start_gateway: StartGateway, ask: Ask, upstream: Upstream, *, is_stream: bool
) -> None:
    service = await start_service(RULES)
    gateway = await start_gateway("token-budgets.yaml", {"ratelimit:8081": service.target})
    before = await ask(gateway, max_tokens=200, stream=is_stream)

    await eventually(lambda: _is_refused(ask, gateway))
    chats_count = upstream.chats_count
    refused = await ask(gateway)
    other = await ask(gateway, "bob")

    assert (before.status, refused.status, other.status) == (200, 429, 200)
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert upstream.chats_count == chats_count + 1


async def test_asking_spends_nothing_and_neither_do_refusals_nor_failed_answers(
    start_service: StartService, start_gateway: StartGateway, ask: Ask
) -> None:
    service = await start_service(RULES)
    gateway = await start_gateway("token-budgets.yaml", {"ratelimit:8081": service.target})

    failed = await ask(gateway, max_tokens=0)
    await ask(gateway, max_tokens=98)
    await eventually(lambda: _is_spent(service.target, 100))
    await ask(gateway, max_tokens=1)
    await eventually(lambda: _is_spent(service.target, 100))
    refused = [(await ask(gateway)).status for _ in range(3)]

    assert failed.status == 400
    assert refused == [429, 429, 429]


async def _is_refused(ask: Ask, gateway: Gateway) -> bool:
    return (await ask(gateway)).status == 429


async def _is_spent(target: str, tokens: int) -> bool:
    return await spent(target, "user", "alice") == tokens
