"""The client of administrators, over TLS."""

from __future__ import annotations

from pathlib import Path

import pytest

from protos.ratelimit.v1 import admin_pb2 as wire
from ratelimit.client import AdminClient, LimiterAway
from serving.clock import SystemClock
from serving.grpc_server import GrpcServer
from serving.metrics import Registry
from serving.settings import GrpcSettings
from serving.tls import channel_credentials
from tests.fakes.certificates import issue, make_ca
from tests.fakes.desks import Apis

RULES = "{domain: llm, descriptors: [{key: tenant, rate_limit: {unit: minute, requests_per_unit: 1000}}]}"


async def test_a_server_is_spoken_to_over_tls_and_only_if_it_can_be_believed(tmp_path: Path) -> None:
    ca, apis = make_ca(tmp_path), await Apis(RULES).start()
    pair = issue(ca, ["127.0.0.1"], "server")
    settings = GrpcSettings(
        grpc_host="127.0.0.1",
        grpc_port=0,
        grpc_server_use_tls=True,
        grpc_server_tls_cert=str(pair.certificate),
        grpc_server_tls_key=str(pair.key),
    )
    server = GrpcServer(settings, list(apis.own.methods()), SystemClock(), Registry())
    await server.start()
    target = f"127.0.0.1:{server.port}"
    async with AdminClient(target, credentials=channel_credentials(str(ca.path))) as client:
        answer = await client.ask(wire.ListRulesRequest())
    other = make_ca(tmp_path, "other")
    async with AdminClient(target, credentials=channel_credentials(str(other.path))) as client:
        with pytest.raises(LimiterAway):
            await client.ask(wire.ListRulesRequest())
    await server.stop()

    assert [rule.path for rule in answer.rules] == ["llm.tenant"]
