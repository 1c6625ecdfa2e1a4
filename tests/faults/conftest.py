"""A Redis of its own for every test, behind a network that can fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

import pytest
import uvloop

from tests.fakes.redis_servers import RedisServer, running
from tests.fakes.tcp_proxy import TcpProxy


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the wire on the loop of the services, which orders its callbacks otherwise than asyncio's own."""
    is_wire = item.path.stem == "test_wire_fuzz"
    return {"uvloop": uvloop.new_event_loop} if is_wire else {"asyncio": asyncio.new_event_loop}


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    with running() as server:
        yield server


@pytest.fixture
async def proxy(redis_server: RedisServer) -> AsyncIterator[TcpProxy]:
    proxy = await TcpProxy(redis_server.path, seed=7).start()
    yield proxy
    await proxy.stop()
