"""deploy/envoy/reservations.yaml: tokens in flight are set aside, so that chats at once spend no more than the budget."""

from __future__ import annotations

import asyncio
from collections import Counter

from tests.e2e.conftest import Ask, StartGateway, StartService
from tests.fakes.envoy import Gateway, eventually
from weir.client import Client

CHATS = 20
BUDGET = 1_000
# Two words are asked, the rest is answered: 200 tokens a chat.
ANSWERED = 198

PLAIN = f"""
domain: llm
descriptors:
  - key: user
    rate_limit: {{ unit: day, requests_per_unit: {BUDGET} }}
"""
RESERVING = f"""
domain: llm
descriptors:
  - key: user
    rate_limit:
      unit: day
      amount: {BUDGET}
      check: exhausted
      reserve: {{ ttl: 60s, default: 200 }}
"""


async def left(target: str) -> int:
    async with Client(target) as client:
        answer = (await client.ask("llm", [(("user", "alice"), ("_phase", "look"))])).answers[0]
        return answer.amount - answer.spent if answer.amount is not None else -1


async def chats(ask: Ask, gateway: Gateway) -> Counter[int]:
    answers = await asyncio.gather(*(ask(gateway, max_tokens=ANSWERED, stream=True) for _ in range(CHATS)))
    return Counter(answer.status for answer in answers)


async def test_chats_at_once_spend_no_more_than_the_budget(
    start_service: StartService, start_gateway: StartGateway, ask: Ask
) -> None:
    service = await start_service(RESERVING)
    gateway = await start_gateway("reservations.yaml", {"ratelimit:8081": service.target})

    statuses = await chats(ask, gateway)

    assert statuses == {200: BUDGET // 200, 429: CHATS - BUDGET // 200}
    await eventually(lambda: _is_left(service.target, 0))
    assert (await ask(gateway)).status == 429


async def test_without_reserve_all_that_ask_at_once_are_let_through(
    start_service: StartService, start_gateway: StartGateway, ask: Ask
) -> None:
    service = await start_service(PLAIN)
    gateway = await start_gateway("reservations.yaml", {"ratelimit:8081": service.target})

    assert await chats(ask, gateway) == {200: CHATS}


async def _is_left(target: str, tokens: int) -> bool:
    return await left(target) == tokens
