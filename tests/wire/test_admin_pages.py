"""AdminService as JSON over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from ratelimit.api.admin_pages import admin_pages
from ratelimit.rights import holder_of
from serving.clock import SystemClock
from serving.http import HttpServer
from serving.metrics import Registry
from serving.settings import HttpClientSettings
from tests.fakes.desks import Apis

RULES = """domain: llm
descriptors:
  - key: tenant
    rate_limit: {unit: year, requests_per_unit: 1000, ceiling: 3000}
"""
TOKEN = "t0k3n"
ACME = {"domain": "llm", "descriptors": [{"entries": [{"key": "tenant", "value": "acme"}]}]}

Post = Callable[..., Awaitable[tuple[int, Any]]]


@pytest.fixture
async def post() -> AsyncIterator[Post]:
    apis = await Apis(RULES, callers=(holder_of(TOKEN),), clock=SystemClock()).start()
    server = HttpServer(
        ("127.0.0.1", 0), admin_pages(apis.own.admin, SystemClock(), 5.0), HttpClientSettings(), Registry(), 10_000
    )
    await server.start()
    async with aiohttp.ClientSession() as session:

        async def send(name: str, body: Any = None, *, token: str = TOKEN, method: str = "POST") -> tuple[int, Any]:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            url = f"http://127.0.0.1:{server.port}/admin/{name}"
            async with session.request(method, url, json=body, headers=headers) as response:
                return response.status, await response.json()

        yield send
    await server.stop()


async def test_counters_are_granted_and_read(post: Post) -> None:
    granted, _ = await post("Grant", {**ACME, "amount": {"hits": "5"}})
    status, answer = await post("GetCounters", ACME)

    assert (granted, status) == (200, 200)
    assert answer["statuses"][0]["rule"] == "llm.tenant"
    assert answer["statuses"][0]["counters"][0]["remaining"] == "1000"


async def test_rules_are_listed(post: Post) -> None:
    status, answer = await post("ListRules", {})

    assert (status, answer["rules"][0]["path"], answer["rules"][0]["line"]) == (200, "llm.tenant", 4)


async def test_a_limit_is_set_up_to_its_ceiling_and_by_who_knows_its_version(post: Post) -> None:
    wanted = {"domain": "llm", "descriptor": ACME["descriptors"][0], "amount": "2000"}
    status, answer = await post("SetLimit", wanted)
    late, _ = await post("SetLimit", {**wanted, "expectedVersion": "7"})
    beyond, _ = await post("SetLimit", {**wanted, "amount": "3001"})
    listed = await post("ListLimits", {})

    assert (status, late, beyond) == (200, 409, 400)
    assert (answer["limit"]["amount"], answer["limit"]["ownAmount"]) == ("2000", "1000")
    assert [each["version"] for each in listed[1]["limits"]] == ["1"]


@pytest.mark.parametrize(
    ("body", "token", "status"),
    [
        (ACME, "", 401),
        (ACME, "wrong", 403),
        ({"domain": "other", "descriptors": ACME["descriptors"]}, TOKEN, 404),
        ({"domain": "llm"}, TOKEN, 400),
        ({"domain": "llm", "unknown": 1}, TOKEN, 400),
    ],
    ids=["no-token", "wrong-token", "no-domain", "no-descriptors", "unknown-field"],
)
async def test_what_cannot_be_answered_has_its_status(post: Post, body: Any, token: str, status: int) -> None:
    found, answer = await post("GetCounters", body, token=token)

    assert found == status
    assert TOKEN not in answer["error"]


async def test_a_page_of_another_site_cannot_have_a_browser_ask(post: Post) -> None:
    assert (await post("GetCounters", method="GET"))[0] == 405
    assert (await post("GetCounters", method="POST"))[0] == 405
