"""deploy/envoy/mtls.yaml: each side proves who it is, to the name."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Ask, StartGateway
from tests.fakes.certificates import Ca, issue, make_ca
from tests.fakes.processes import RatelimitProcess

RULES = """
domain: requests
descriptors:
  - key: user
    rate_limit: { unit: day, requests_per_unit: 1 }
"""


@pytest.fixture
def ca(tmp_path: Path) -> Ca:
    return make_ca(tmp_path)


@pytest.fixture
async def service(tmp_path: Path, ca: Ca):  # type: ignore[no-untyped-def]  # noqa: ANN201
    own = issue(ca, ["ratelimit", "127.0.0.1"], "server")
    health = issue(ca, ["gateway"], "health")
    environment = {
        "GRPC_SERVER_USE_TLS": "true",
        "GRPC_SERVER_TLS_CERT": str(own.certificate),
        "GRPC_SERVER_TLS_KEY": str(own.key),
        "GRPC_SERVER_TLS_CA_CERT": str(ca.path),
        "GRPC_CLIENT_TLS_SAN": "gateway",
    }
    service = RatelimitProcess(tmp_path / "service", RULES, environment)
    service.trust(health.certificate, health.key, ca.path)
    await service.start()
    yield service
    await service.stop()


def places(service: RatelimitProcess, ca: Ca, name: str) -> dict[str, str]:
    shown = issue(ca, [name], "shown")
    return {
        "ratelimit:8081": service.target,
        "/certs/tls.crt": str(shown.certificate),
        "/certs/tls.key": str(shown.key),
        "/certs/ca.crt": str(ca.path),
    }


async def test_envoy_and_the_service_talk_when_both_have_proved_their_names(
    service: RatelimitProcess, ca: Ca, start_gateway: StartGateway, ask: Ask
) -> None:
    gateway = await start_gateway("mtls.yaml", places(service, ca, "gateway"))

    statuses = [(await ask(gateway)).status for _ in range(2)]

    assert statuses == [200, 429]
    assert await gateway.stat("cluster.ratelimit.ssl.handshake") >= 1


async def test_a_client_with_another_name_of_the_same_authority_is_not_answered(
    service: RatelimitProcess, ca: Ca, start_gateway: StartGateway, ask: Ask
) -> None:
    gateway = await start_gateway("mtls.yaml", places(service, ca, "somebody"))

    statuses = [(await ask(gateway)).status for _ in range(2)]

    assert statuses == [503, 503]


async def test_a_client_of_another_authority_is_not_answered(
    service: RatelimitProcess, ca: Ca, start_gateway: StartGateway, ask: Ask, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    stranger = issue(make_ca(tmp_path / "other"), ["gateway"], "stranger")
    shown = {"/certs/tls.crt": str(stranger.certificate), "/certs/tls.key": str(stranger.key)}
    gateway = await start_gateway("mtls.yaml", places(service, ca, "gateway") | shown)

    statuses = [(await ask(gateway)).status for _ in range(2)]

    assert statuses == [503, 503]


@pytest.mark.parametrize(("is_shown", "status"), [(True, 0), (False, 2)], ids=["with a certificate", "without"])
async def test_a_check_can_prove_who_asks(service: RatelimitProcess, ca: Ca, *, is_shown: bool, status: int) -> None:
    shown = issue(ca, ["gateway"], "shown")
    proof = ["--cert", str(shown.certificate), "--key", str(shown.key)] if is_shown else []
    command = ["check", "--domain", "requests", "--target", service.target, "--cacert", str(ca.path), *proof, "user=a"]

    # A process of its own: gRPC's loops of two threads of one process disturb each other.
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "weir", *command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()

    assert process.returncode == status, output.decode()
