"""deploy/prometheus and deploy/grafana: what they ask for is on the page of a running service."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from protos.semcache.v1 import semcache_pb2 as wire
from semcache.settings import SemcacheHttpSettings
from tests.e2e.conftest import StartService
from tests.fakes.ports import free_port
from tests.fakes.processes import RedisProcess
from tests.fakes.semcache_service import NAMESPACES, lookup, serving, settings, store
from weir.client import AskError, Client

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = """
domain: llm
descriptors:
  - key: user
    rate_limit: { unit: day, requests_per_unit: 10 }
"""
# A namespace with a target, which the others have not.
AIMED = """
  - { name: aimed, target_error: 0.05, callers: [{ anyone: true, roles: [lookup] }] }
"""
SERIES = re.compile(r"\b(?:ratelimit|weir|semcache)_\w+")


def alerts() -> Iterator[str]:
    text = (DEPLOY / "prometheus" / "alerts.yaml").read_text()
    yield from (rule["expr"] for group in yaml.safe_load(text)["groups"] for rule in group["rules"])


def panels() -> Iterator[str]:
    for path in (DEPLOY / "grafana").glob("*.json"):
        dashboard: dict[str, Any] = json.loads(path.read_text())
        yield from (target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
        yield from (variable["query"] for variable in dashboard["templating"]["list"])


async def page(address: str) -> set[str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://{address}/metrics") as response:
        text = await response.text()
    return {re.split(r"[ {]", line, maxsplit=1)[0] for line in text.splitlines() if not line.startswith("#")}


@pytest.fixture
async def served(start_service: StartService, redis: RedisProcess) -> set[str]:
    """Every series of two services, in memory and over a Redis, that let through, refused and could not answer."""
    found: set[str] = set()
    for backend in ("memory", "redis"):
        address = f"127.0.0.1:{free_port()}"
        over = {"BACKEND_TYPE": backend, "REDIS_SOCKET_TYPE": "unix", "REDIS_URL": str(redis.path)}
        service = await start_service(RULES, {"USE_PROMETHEUS": "true", "PROMETHEUS_ADDR": address, **over})
        async with Client(service.target) as client:
            for hits in (9, 9, 9):
                await client.ask("llm", [(("user", "alice"),)], hits)
            with pytest.raises(AskError):
                await client.ask("", [(("user", "alice"),)])
        found |= await page(address)
    return found


@pytest.fixture
async def cached(tmp_path: Path) -> set[str]:
    """Every series of a cache that found, found nothing, kept and was judged."""
    http = SemcacheHttpSettings(host="127.0.0.1", port=free_port())
    async with serving(settings(tmp_path, NAMESPACES + AIMED, http=http)) as service:
        for request in (lookup("What is a weir?"), store("What is a weir?"), lookup("What is a weir?")):
            answer = await service.call(request)
        await service.call(
            wire.FeedbackRequest(namespace="support", lookup_id=answer.lookup_id, judgement=wire.JUDGEMENT_RIGHT)
        )
        return await page(f"127.0.0.1:{http.port}")


async def test_alerts_and_dashboard_ask_for_series_that_exist(served: set[str], cached: set[str]) -> None:
    asked = {series for expression in [*alerts(), *panels()] for series in SERIES.findall(expression)}

    assert len(asked) > 15
    assert asked - served - cached == set()
