"""deploy/envoy/quotas.yaml: Envoy reports what it let through, and keeps to what it is assigned."""

from __future__ import annotations

from tests.e2e.conftest import Ask, StartGateway, StartService
from tests.fakes.envoy import Gateway, eventually
from weir.client import Client

LIMIT = 12
RULES = f"""
domain: llm
descriptors:
  - key: user
    rate_limit: {{ unit: day, requests_per_unit: {LIMIT} }}
"""


async def spent(target: str) -> int:
    async with Client(target) as client:
        return (await client.ask("llm", [(("user", "alice"),)])).answers[0].spent


async def test_an_envoy_that_asks_nobody_keeps_to_the_limit_and_is_counted(
    start_service: StartService, start_gateway: StartGateway, ask: Ask
) -> None:
    service = await start_service(RULES)
    gateway = await start_gateway("quotas.yaml", {"ratelimit:8081": service.target})
    # The first request makes the bucket; its report brings the first assignment.
    first = (await ask(gateway)).status

    await eventually(lambda: _is_spent(service.target, 1))
    statuses = [(await ask(gateway)).status for _ in range(2 * LIMIT)]

    assert first == 200
    # One may slip through while the first assignment is on its way.
    assert LIMIT - 1 <= statuses.count(200) <= LIMIT
    await eventually(lambda: _is_spent(service.target, LIMIT))
    assert await _refuses(ask, gateway)
    assert (await ask(gateway, "bob")).status == 200


async def _is_spent(target: str, hits: int) -> bool:
    return await spent(target) == hits


async def _refuses(ask: Ask, gateway: Gateway) -> bool:
    return (await ask(gateway)).status == 429
