"""deploy/envoy/replicas.yaml: gRPC health checks, restarts that nobody notices, and refusal when all are away."""

from __future__ import annotations

import asyncio
from collections import Counter

from tests.e2e.conftest import Ask, StartGateway, StartService
from tests.fakes.envoy import Gateway, eventually
from tests.fakes.ports import free_port
from tests.fakes.processes import RatelimitProcess, RedisProcess

RULES = """
domain: requests
descriptors:
  - key: user
    rate_limit: { unit: day, requests_per_unit: 1000000 }
  - key: user
    value: bob
    rate_limit: { unit: day, requests_per_unit: 0 }
"""

CALLERS_COUNT = 4


async def test_envoy_asks_no_replica_that_fails_its_health_check(
    start_service: StartService, start_gateway: StartGateway, ask: Ask
) -> None:
    port, gone = sorted((free_port(), free_port()))
    service = await start_service(RULES, port=port)
    gateway = await start_gateway(
        "replicas.yaml", {"ratelimit-1:8081": service.target, "ratelimit-2:8081": f"127.0.0.1:{gone}"}
    )

    await eventually(lambda: _is_health(gateway, [True, False]))
    answers = Counter([(await ask(gateway)).status for _ in range(20)])

    assert answers == {200: 20}


async def test_requests_are_refused_while_no_replica_answers_and_limited_when_one_is_back(
    start_service: StartService, start_gateway: StartGateway, ask: Ask
) -> None:
    service = await start_service(RULES)
    places = {"ratelimit-1:8081": service.target, "ratelimit-2:8081": service.target}
    gateway = await start_gateway("replicas.yaml", places)
    before = (await ask(gateway)).status
    await service.stop()

    down = (await ask(gateway)).status
    await start_service(RULES, port=service.port)

    assert (before, down) == (200, 503)
    await eventually(lambda: _is(200, ask, gateway, "alice"))
    assert (await ask(gateway, "bob")).status == 429


async def test_a_rolling_restart_loses_no_request_and_needs_no_retry(
    start_service: StartService, start_gateway: StartGateway, ask: Ask, redis: RedisProcess
) -> None:
    environment = {"BACKEND_TYPE": "redis", "REDIS_SOCKET_TYPE": "unix", "REDIS_URL": str(redis.path)}
    # Until Envoy asks there no more, however long its health checks take on a machine under load.
    patient = {**environment, "DRAIN_DELAY": "3600s"}
    replicas = await asyncio.gather(*(start_service(RULES, patient) for _ in range(2)))
    replicas.sort(key=lambda each: each.port)
    places = {f"ratelimit-{number}:8081": each.target for number, each in enumerate(replicas, 1)}
    gateway = await start_gateway("replicas.yaml", places)
    await eventually(lambda: _is_health(gateway, [True, True]))
    statuses: Counter[int] = Counter()
    callers = [asyncio.ensure_future(_keep_asking(ask, gateway, statuses)) for _ in range(CALLERS_COUNT)]

    for number, replica in enumerate(replicas):
        await _restart(replica, number, start_service, environment, gateway, statuses)
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)

    assert set(statuses) == {200}
    assert await gateway.stat("cluster.upstream.ratelimit.error") == 0
    assert await gateway.stat("cluster.upstream.ratelimit.ok") >= statuses[200] > 100
    assert await gateway.stat("cluster.ratelimit.upstream_rq_retry") == 0
    assert await gateway.stat("cluster.upstream.upstream_rq_retry") == 0


async def _restart(
    replica: RatelimitProcess,
    number: int,
    start_service: StartService,
    environment: dict[str, str],
    gateway: Gateway,
    statuses: Counter[int],
) -> None:
    replica.process.terminate()
    await eventually(lambda: _is_health(gateway, [number != each for each in range(2)]))
    # What asks is another thread of Envoy than the one that tells: it has heard when it asked this often.
    enough = statuses.total() + 20 * CALLERS_COUNT
    await eventually(lambda: asyncio.sleep(0, statuses.total() >= enough))
    await replica.stop()
    await start_service(RULES, environment, port=replica.port)
    await eventually(lambda: _is_health(gateway, [True, True]))


async def _keep_asking(ask: Ask, gateway: Gateway, statuses: Counter[int]) -> None:
    while True:
        statuses[(await ask(gateway)).status] += 1
        await asyncio.sleep(0.005)


async def _is_health(gateway: Gateway, expected: list[bool]) -> bool:
    return await gateway.healthy("ratelimit") == expected


async def _is(status: int, ask: Ask, gateway: Gateway, user: str) -> bool:
    return (await ask(gateway, user)).status == status
