"""How connections come to the relay: sockets of its own, and what happens to them at the ends."""

from __future__ import annotations

import asyncio
import gc
import resource
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from tests.wire.gate import until
from tests.wire.transports import PATH, Connect, Serve


@pytest.fixture
def transport_name() -> str:
    return "front"


async def test_a_socket_that_was_left_behind_is_taken_over(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    served = await serve(grpc_uds=str(path))

    assert await connect(served).unary_unary(PATH)(b"1") == b"1"
    assert served.server.port == 0


async def test_connections_are_accepted_again_when_there_are_file_descriptors(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = str(tmp_path / "socket")
    served = await serve(grpc_uds=path)
    _, most = before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket(socket.AF_UNIX) as client:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, most))
        try:
            client.connect(path)
            await until(lambda: "no connection can be accepted" in caplog.text)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)

        await until(lambda: served.value("weir.relay.connections"))


@pytest.mark.parametrize("turns", range(5))
async def test_a_connection_that_comes_as_the_service_stops_is_ended(
    serve: Serve, recwarn: pytest.WarningsRecorder, turns: int
) -> None:
    served = await serve()
    with socket.create_connection(("127.0.0.1", served.server.port), timeout=20) as client:
        for _ in range(turns):
            await asyncio.sleep(0)
        await served.server.stop()
        gc.collect()
        with suppress(ConnectionResetError):
            while client.recv(1_024):
                pass

    assert [str(each.message) for each in recwarn if each.category is ResourceWarning] == []
