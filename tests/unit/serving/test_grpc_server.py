from __future__ import annotations

import pytest

from serving.grpc_server import address_of
from serving.settings import GrpcSettings


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        (GrpcSettings(grpc_host="127.0.0.1", grpc_port=1), "127.0.0.1:1"),
        (GrpcSettings(grpc_host="::1", grpc_port=1), "[::1]:1"),
        (GrpcSettings(grpc_host="127.0.0.1", grpc_uds="/run/s"), "unix:/run/s"),
    ],
    ids=["ipv4", "ipv6", "unix socket"],
)
def test_anaddress_of_is_written_as_grpc_reads_it(settings: GrpcSettings, address: str) -> None:
    assert address_of(settings) == address
