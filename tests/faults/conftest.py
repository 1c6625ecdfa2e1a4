"""A Redis of its own for every test, behind a network that can fail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.fakes.redis_servers import RedisServer, running
from tests.fakes.tcp_proxy import TcpProxy


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    with running() as server:
        yield server


@pytest.fixture
async def proxy(redis_server: RedisServer) -> AsyncIterator[TcpProxy]:
    proxy = await TcpProxy(redis_server.path, seed=7).start()
    yield proxy
    await proxy.stop()
