"""Rights by the name in a client's certificate: the cache over mutual TLS."""

from __future__ import annotations

from pathlib import Path

import grpc

from semcache.app import seeing_names
from semcache.settings import SemcacheGrpcSettings
from tests.fakes.certificates import Issued, issue, make_ca
from tests.fakes.semcache_service import Served, lookup, serving, settings

NAMESPACES = """
namespaces:
  - name: support
    threshold: 0.9
    callers: [{san: gateway, roles: [lookup]}]
"""


def channel(port: int, client: Issued, ca: Path) -> grpc.aio.Channel:
    credentials = grpc.ssl_channel_credentials(
        ca.read_bytes(), client.key.read_bytes(), client.certificate.read_bytes()
    )
    return grpc.aio.secure_channel(f"localhost:{port}", credentials)


async def test_who_may_ask_is_told_by_the_certificate(tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    server = issue(ca, ["localhost"], "server")
    tls = SemcacheGrpcSettings(
        grpc_host="127.0.0.1",
        grpc_port=0,
        grpc_server_use_tls=True,
        grpc_server_tls_cert=str(server.certificate),
        grpc_server_tls_key=str(server.key),
        grpc_client_tls_cacert=str(ca.path),
    )
    async with serving(settings(tmp_path, NAMESPACES, grpc=tls)) as served:
        port = served.service.grpc.port
        statuses = []
        for name in ("gateway", "stranger"):
            async with channel(port, issue(ca, [name], name), ca.path) as mine:
                statuses.append(await Served(served.service, mine).status(lookup("Why?", namespace="support")))

    assert [status for status, _ in statuses] == ["OK", "PERMISSION_DENIED"]


def test_who_asks_for_the_front_gets_it() -> None:
    asked = SemcacheGrpcSettings(transport="front", grpc_client_tls_cacert="ca.pem")

    assert seeing_names(asked).transport == "front"
