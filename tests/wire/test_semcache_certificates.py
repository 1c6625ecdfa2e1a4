"""Rights by the name in a client's certificate: the cache over mutual TLS."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
from click.testing import CliRunner

from semcache.app import seeing_names
from semcache.settings import SemcacheGrpcSettings
from tests.fakes.certificates import Ca, Issued, issue, make_ca
from tests.fakes.semcache_service import Served, lookup, serving, settings
from weir.__main__ import main

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


def over_tls(ca: Ca) -> SemcacheGrpcSettings:
    server = issue(ca, ["localhost"], "server")
    return SemcacheGrpcSettings(
        grpc_host="127.0.0.1",
        grpc_port=0,
        grpc_server_use_tls=True,
        grpc_server_tls_cert=str(server.certificate),
        grpc_server_tls_key=str(server.key),
        grpc_client_tls_cacert=str(ca.path),
    )


async def test_who_may_ask_is_told_by_the_certificate(tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    async with serving(settings(tmp_path, NAMESPACES, grpc=over_tls(ca))) as served:
        port = served.service.grpc.port
        statuses = []
        for name in ("gateway", "stranger"):
            async with channel(port, issue(ca, [name], name), ca.path) as mine:
                statuses.append(await Served(served.service, mine).status(lookup("Why?", namespace="support")))

    assert [status for status, _ in statuses] == ["OK", "PERMISSION_DENIED"]


async def test_commands_show_a_certificate_too(tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    mine = issue(ca, ["gateway"], "gateway")
    shown = ["--cacert", str(ca.path), "--cert", str(mine.certificate), "--key", str(mine.key)]
    async with serving(settings(tmp_path, NAMESPACES, grpc=over_tls(ca))) as served:
        command = ["lookup", "--namespace", "support", "--target", f"localhost:{served.service.grpc.port}", "Why?"]
        asked = await asyncio.to_thread(CliRunner().invoke, main, [*command, *shown])
        plain = await asyncio.to_thread(CliRunner().invoke, main, command)

    assert (asked.exit_code, plain.exit_code) == (1, 2)


def test_who_asks_for_the_front_gets_it() -> None:
    asked = SemcacheGrpcSettings(transport="front", grpc_client_tls_cacert="ca.pem")

    assert seeing_names(asked).transport == "front"
