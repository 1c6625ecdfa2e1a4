"""Rights by the names in certificates, from a file, against a real service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ratelimit.client import LimiterClient, LimiterRefused
from serving.tls import channel_credentials
from tests.fakes.certificates import Ca, issue, make_ca
from tests.fakes.processes import RatelimitProcess

RULES = """
domain: llm
descriptors:
  - key: tenant
    rate_limit: { unit: day, requests_per_unit: 1000 }
"""
CALLERS = """
callers:
  - san: spiffe://mesh/chat
    roles: [ask, settle]
    domains: [llm]
"""


@pytest.fixture
def ca(tmp_path: Path) -> Ca:
    return make_ca(tmp_path)


@pytest.fixture
async def service(tmp_path: Path, ca: Ca) -> AsyncIterator[RatelimitProcess]:
    own = issue(ca, ["ratelimit", "127.0.0.1"], "server")
    health = issue(ca, ["gateway"], "health")
    (tmp_path / "callers.yaml").write_text(CALLERS)
    environment = {
        "GRPC_SERVER_USE_TLS": "true",
        "GRPC_SERVER_TLS_CERT": str(own.certificate),
        "GRPC_SERVER_TLS_KEY": str(own.key),
        "GRPC_CLIENT_TLS_CACERT": str(ca.path),
        "API_CALLERS_PATH": str(tmp_path / "callers.yaml"),
    }
    service = RatelimitProcess(tmp_path / "service", RULES, environment)
    service.trust(health.certificate, health.key, ca.path)
    await service.start()
    yield service
    await service.stop()


def client(service: RatelimitProcess, ca: Ca, name: str) -> LimiterClient:
    shown = issue(ca, [name], "shown")
    credentials = channel_credentials(str(ca.path), str(shown.certificate), str(shown.key))
    return LimiterClient(service.target, domain="llm", credentials=credentials, on_error="raise", timeout_seconds=15)


async def test_a_caller_may_what_its_certificates_name_may(service: RatelimitProcess, ca: Ca) -> None:
    async with client(service, ca, "spiffe://mesh/chat") as limits:
        async with limits.reserve(800, tenant="acme") as hold:
            hold.settle(300)
        (limit,) = (await limits.check(0, tenant="acme")).limits

    assert (limit.spent, limit.held) == (300, 0)


@pytest.mark.parametrize(("name", "method"), [("spiffe://mesh/other", "charge"), ("spiffe://mesh/chat", "refund")])
async def test_and_nothing_else(service: RatelimitProcess, ca: Ca, name: str, method: str) -> None:
    async with client(service, ca, name) as limits:
        with pytest.raises(LimiterRefused, match="PERMISSION_DENIED"):
            await getattr(limits, method)(1, tenant="acme")
