"""The relay, the config tree and the statistics listener do what the vectors ask of them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conformance.relay import Relay
from tests.conformance.tree import Tree
from tests.fakes.statsd import Statsd


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(1024):
            writer.write(chunk)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.fixture
async def relay(echo: int) -> AsyncIterator[Relay]:
    relay = Relay("127.0.0.1", echo)
    await relay.start()
    yield relay
    await relay.stop()


async def _connect(relay: Relay) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    writer.write(b"ping")
    return reader, writer


async def test_a_relay_passes_bytes_both_ways(relay: Relay) -> None:
    reader, writer = await _connect(relay)

    assert await reader.readexactly(4) == b"ping"
    writer.close()


async def test_a_relay_that_is_down_cuts_and_refuses_until_it_is_up(relay: Relay) -> None:
    reader, writer = await _connect(relay)
    await reader.readexactly(4)

    await relay.turn("down")
    assert await reader.read() == b""
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await _connect(relay)

    await relay.turn("up")
    reader, writer = await _connect(relay)
    assert await reader.readexactly(4) == b"ping"
    writer.close()


async def test_a_relay_that_hangs_holds_bytes_back_and_loses_none(relay: Relay) -> None:
    reader, writer = await _connect(relay)
    await reader.readexactly(4)

    await relay.turn("hang")
    writer.write(b"pong")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(4), 0.05)

    await relay.turn("up")
    assert await reader.readexactly(4) == b"pong"
    writer.close()


def test_files_are_moved_into_the_tree_and_taken_out(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.start()

    tree.write({"a.yaml": "a", "b.yaml": "b"})
    tree.remove(["a.yaml"])
    assert _content(tree) == {"b.yaml": "b"}


def test_a_swap_leaves_the_old_tree_as_it_was(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.start()
    tree.write({"a.yaml": "old", "gone.yaml": ""})
    old = tree.root.resolve()

    tree.swap({"a.yaml": "new"}, ["gone.yaml"])
    assert _content(tree) == {"a.yaml": "new"}
    assert (old / "ratelimit" / "config" / "a.yaml").read_text() == "old"


async def test_statistics_are_added_up_over_both_protocols() -> None:
    statsd = Statsd()
    await statsd.start()
    _, writer = await asyncio.open_connection("127.0.0.1", statsd.port)

    writer.write(b"a.b:2|c\na.b:3|c|#t:1\ng:7|g\nnothing\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.sendto(b"a.b:1|c", ("127.0.0.1", statsd.port))
        async with asyncio.timeout(20):
            while len(statsd.lines) < 5:  # noqa: ASYNC110 - a statsd says nothing back
                await asyncio.sleep(0.001)
    writer.close()
    await statsd.stop()

    assert statsd.counters == {"a.b": 3, "a.b|#t:1": 3}
    assert statsd.gauges == {"g": 7}


def _content(tree: Tree) -> dict[str, str]:
    folder = tree.root / "ratelimit" / "config"
    return {path.name: path.read_text() for path in folder.iterdir()}
