"""Clients by grpc-go: what grpcurl sees, and ghz's load."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.certificates import issue, make_ca
from tests.fakes.processes import RatelimitProcess

pytestmark = pytest.mark.soak

RULES = """
domain: go
descriptors:
  - key: user
    rate_limit: { unit: year, requests_per_unit: 4000000 }
"""
METHOD = "envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
REQUEST = json.dumps({"domain": "go", "descriptors": [{"entries": [{"key": "user", "value": "alice"}]}]})
CALLS = 20_000


@dataclass(frozen=True)
class Clients:
    """Both tools, and how they are told to reach the service."""

    target: str
    access: list[str]

    async def grpcurl(self, *arguments: str, data: str = "") -> tuple[int, str]:
        access = [f"-{option}" for option in self.access]
        flags = ["-d", data] if data else []
        return await _run("grpcurl", *access, *flags, self.target, *arguments)

    async def ghz(self, *options: str, calls: int) -> dict[str, Any]:
        access = [f"--{option.replace('plaintext', 'insecure')}" for option in self.access]
        command = [*access, "--call", METHOD, "-d", REQUEST, "-n", str(calls), "-O", "json", *options, self.target]
        status, told = await _run("ghz", *command)
        assert status == 0, told
        report: dict[str, Any] = json.loads(told)
        return report


async def _run(tool: str, *arguments: str) -> tuple[int, str]:
    path = shutil.which(tool, path=str(Path(sys.executable).parent))
    assert path, f"{tool} is missing: `deploy/install-servers soak` builds it by Go (package golang-go)"
    process = await asyncio.create_subprocess_exec(path, *arguments, stdout=PIPE, stderr=PIPE)
    output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, (output or errors).decode()


@pytest.fixture(params=["front", "front by TLS", "grpcio", "grpcio by TLS"])
async def clients(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Clients]:
    transport, _, is_tls = request.param.partition(" by ")
    environment, access = {"TRANSPORT": transport}, ["plaintext"]
    ca = make_ca(tmp_path)
    own, shown = issue(ca, ["ratelimit", "127.0.0.1"], "server"), issue(ca, ["gateway"], "client")
    if is_tls:
        environment |= {
            "GRPC_SERVER_USE_TLS": "true",
            "GRPC_SERVER_TLS_CERT": str(own.certificate),
            "GRPC_SERVER_TLS_KEY": str(own.key),
            "GRPC_CLIENT_TLS_CACERT": str(ca.path),
        }
        access = [f"cacert={ca.path}", f"cert={shown.certificate}", f"key={shown.key}"]
    service = RatelimitProcess(tmp_path / "service", RULES, environment)
    if is_tls:
        service.trust(shown.certificate, shown.key, ca.path)
    await service.start()
    yield Clients(service.target, access)
    await service.stop()


async def test_grpcurl_lists_our_services(clients: Clients) -> None:
    status, told = await clients.grpcurl("list")

    assert status == 0
    assert {"envoy.service.ratelimit.v3.RateLimitService", "grpc.health.v1.Health"} <= set(told.split())


async def test_grpcurl_calls_a_method_it_was_shown(clients: Clients) -> None:
    status, told = await clients.grpcurl(METHOD, data=REQUEST)

    assert status == 0
    assert json.loads(told)["statuses"][0]["limit_remaining"] == 3_999_999


async def test_grpcurl_asks_for_health(clients: Clients) -> None:
    answer = await clients.grpcurl("grpc.health.v1.Health/Check", data='{"service": "ratelimit"}')

    assert answer == (0, '{\n  "status": "SERVING"\n}\n')


async def test_grpcurl_shows_the_status_of_a_bad_request(clients: Clients) -> None:
    status, told = await clients.grpcurl(METHOD, data='{"domain": ""}')

    assert status == 64 + 2  # UNKNOWN, as the reference answers
    assert "rate limit domain must not be empty" in told


@pytest.mark.parametrize("options", [[], ["--enable-compression"]], ids=["plain", "compressed"])
async def test_every_call_of_ghz_is_answered(clients: Clients, options: list[str]) -> None:
    report = await clients.ghz("-c", "50", "--connections", "4", *options, calls=CALLS)

    assert report["statusCodeDistribution"] == {"OK": CALLS}
