"""deploy/envoy/requests.yaml: limits on requests; what does not answer in time is not waited for."""

from __future__ import annotations

from tests.e2e.conftest import Ask, StartGateway, StartService
from tests.fakes.envoy import Gateway, eventually
from tests.fakes.processes import RedisProcess

RULES = """
domain: requests
descriptors:
  - key: user
    rate_limit: { unit: day, requests_per_unit: 2 }
  - key: user
    value: tester
    shadow_mode: true
    rate_limit: { unit: day, requests_per_unit: 1 }
"""

# As in the file.
IMPATIENT = {"0.02s": "0.02s"}


async def test_what_is_over_its_limit_is_refused_and_told_when_to_come_back(
    start_service: StartService, start_gateway: StartGateway, ask: Ask
) -> None:
    service = await start_service(RULES)
    gateway = await start_gateway("requests.yaml", {"ratelimit:8081": service.target})

    first, second, third = [await ask(gateway) for _ in range(3)]

    assert [first.status, second.status, third.status] == [200, 200, 429]
    assert [each.headers["x-ratelimit-remaining"] for each in (first, second, third)] == ["1", "0", "0"]
    assert third.headers["x-ratelimit-limit"] == "2, 2;w=86400"
    assert 0 < int(third.headers["retry-after"]) <= 86400
    assert int(third.headers["x-ratelimit-reset"]) == int(third.headers["retry-after"])


async def test_users_do_not_share_a_limit(start_service: StartService, start_gateway: StartGateway, ask: Ask) -> None:
    service = await start_service(RULES)
    gateway = await start_gateway("requests.yaml", {"ratelimit:8081": service.target})

    alice = [(await ask(gateway, "alice")).status for _ in range(3)]
    bob = [(await ask(gateway, "bob")).status for _ in range(3)]

    assert alice == bob == [200, 200, 429]


async def test_a_rule_in_shadow_mode_refuses_nobody(
    start_service: StartService, start_gateway: StartGateway, ask: Ask
) -> None:
    service = await start_service(RULES)
    gateway = await start_gateway("requests.yaml", {"ratelimit:8081": service.target})

    answers = [await ask(gateway, "tester") for _ in range(3)]

    assert [each.status for each in answers] == [200, 200, 200]
    assert [each.headers["x-ratelimit-remaining"] for each in answers] == ["0", "0", "0"]


async def test_requests_pass_while_the_service_is_down_and_are_limited_when_it_is_back(
    start_service: StartService, start_gateway: StartGateway, ask: Ask
) -> None:
    service = await start_service(RULES)
    gateway = await start_gateway("requests.yaml", {"ratelimit:8081": service.target})
    await service.stop()

    down = [(await ask(gateway)).status for _ in range(4)]
    await start_service(RULES, port=service.port)

    assert down == [200] * 4
    await eventually(lambda: _is_refused(ask, gateway))


async def test_a_stalled_redis_costs_a_request_no_more_than_envoys_timeout(
    start_service: StartService, start_gateway: StartGateway, ask: Ask, redis: RedisProcess
) -> None:
    environment = {
        "BACKEND_TYPE": "redis",
        "REDIS_SOCKET_TYPE": "unix",
        "REDIS_URL": str(redis.path),
        # Who waited for the service would wait for longer than this test may take.
        "REDIS_TIMEOUT": "3600s",
    }
    service = await start_service(RULES, environment)
    gateway = await start_gateway("requests.yaml", {"ratelimit:8081": service.target, **IMPATIENT})
    redis.stall()

    stalled = [(await ask(gateway)).status for _ in range(5)]
    redis.go_on()

    assert stalled == [200] * 5
    assert await gateway.stat("cluster.upstream.ratelimit.error") == 5
    await eventually(lambda: _is_refused(ask, gateway))


async def _is_refused(ask: Ask, gateway: Gateway) -> bool:
    return (await ask(gateway)).status == 429
