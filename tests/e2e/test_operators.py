"""What an operator sees of a running service: traces, metrics, denials, and hashes where values are secret."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import aiohttp
import grpc.aio
import pytest

from protos.interop.rls.v1 import rls_pb2
from tests.e2e.conftest import StartService
from tests.fakes.collector import Collector, attributes
from tests.fakes.ports import free_port
from tests.fakes.processes import RatelimitProcess, RedisProcess
from weir.client import SHOULD_RATE_LIMIT, request

SECRET = "sk-live-123"
TRACE, SPAN = "80f198ee56343ba864fe8b2a57d3eff7", "e457b5a2e4d86bd1"
RULES = """
domain: llm
descriptors:
  - key: api_key
    value_to_metric: true
    rate_limit: { unit: day, requests_per_unit: 10 }
"""


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    collector = Collector()
    await collector.start()
    yield collector
    await collector.stop()


async def ask(service: RatelimitProcess, hits: int, *, headers: tuple[tuple[str, str], ...] = ()) -> int:
    message = request("llm", [(("api_key", SECRET),)], hits)
    async with grpc.aio.insecure_channel(service.target) as channel:
        method = channel.unary_unary(SHOULD_RATE_LIMIT)
        reply: bytes = await method(message.SerializeToString(), metadata=headers)
    return rls_pb2.RateLimitResponse.FromString(reply).overall_code


async def page(port: int, path: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return await answer.text()


@pytest.mark.parametrize("transport", ["grpcio", "auto"])
async def test_a_traced_call_is_a_span_with_its_wait_for_redis(
    transport: str, start_service: StartService, redis: RedisProcess, collector: Collector
) -> None:
    environment = {
        "TRANSPORT": transport,
        "BACKEND_TYPE": "redis",
        "REDIS_URL": str(redis.path),
        "TRACING_ENABLED": "true",
        "TRACING_SAMPLING_RATE": "0",
        "OTLP_METRICS_ENABLED": "true",
        "STATS_FLUSH_INTERVAL": "100ms",
        **collector.environment("grpc"),
    }
    service = await start_service(RULES, environment)
    await ask(service, 3)

    await ask(service, 11, headers=(("traceparent", f"00-{TRACE}-{SPAN}-01"),))

    step, whole = await collector.until_spans(2)
    assert (whole.name, whole.trace_id.hex(), whole.parent_span_id.hex()) == ("ShouldRateLimit Execution", TRACE, SPAN)
    assert (step.name, step.parent_span_id) == ("Redis Pipeline Execution", whole.span_id)
    told = attributes(whole.attributes)
    assert (told["ratelimit.domain"], told["ratelimit.code"]) == ("llm", "OVER_LIMIT")
    assert SECRET not in str(whole)
    await collector.until_metric("ratelimit_service_rate_limit_total_hits")


async def test_a_denial_is_logged_with_its_rule_and_place(start_service: StartService) -> None:
    service = await start_service(RULES, {"LOG_LEVEL": "INFO", "LOG_FORMAT": "json"})

    await ask(service, 11)

    await service.wait_until(lambda: _has(service, "denied by"))
    [denial] = [json.loads(line) for line in service.log.read_text().splitlines() if "denied by" in line]
    assert (denial["rule"], denial["limit"], denial["left_out"]) == ("llm.api_key", "10 per day", 0)
    assert denial["place"].endswith("rules.yaml:6")


async def test_a_value_that_is_to_be_hashed_shows_nowhere(start_service: StartService) -> None:
    debug, metrics = free_port(), free_port()
    environment = {
        "HASH_VALUES": "true",
        "LOG_LEVEL": "DEBUG",
        "DEBUG_PORT": str(debug),
        "USE_PROMETHEUS": "true",
        "PROMETHEUS_ADDR": f"127.0.0.1:{metrics}",
    }
    service = await start_service(RULES.replace("value_to_metric: true", f"value: {SECRET}"), environment)
    await ask(service, 11)
    await service.wait_until(lambda: _has(service, "denied by"))

    shown = [await page(debug, path) for path in ("/rlconfig", "/stats", "/metrics")]
    shown += [await page(metrics, "/metrics"), service.log.read_text()]

    assert all("api_key_" in text for text in shown)
    assert not any(SECRET in text for text in shown)


async def test_a_setting_that_does_nothing_is_told_at_the_start(start_service: StartService) -> None:
    service = await start_service(RULES, {"REDIS_POOL_SIZE": "20", "RUNTIME_APPDIRECTRY": "rules"})

    text = service.log.read_text()
    assert "settings that do nothing here: REDIS_POOL_SIZE" in text
    assert "RUNTIME_APPDIRECTRY is no setting; is RUNTIME_APPDIRECTORY meant?" in text


async def _has(service: RatelimitProcess, text: str) -> bool:
    return text in service.log.read_text()
