"""A connection to Redis, when it is let go and when its peer is no Redis."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import hiredis
import pytest

from ratelimit.store import Charge
from serving.metrics import Registry
from serving.redis import Door
from serving.redis_cluster import _leave
from serving.redis_link import Link, NotSent
from serving.redis_node import Bounds, Command, Node, RedisMetrics
from serving.redis_subscription import Subscription
from tests.contract.redis_stores import CLOCK, count, opened, settings, until
from tests.fakes.redis_servers import RedisServer


async def opened_link(path: Path, **options: Any) -> Link:
    _, link = await asyncio.get_running_loop().create_unix_connection(lambda: Link(10, **options), str(path))
    return link


def packed(*command: str | int) -> bytes:
    return bytes(hiredis.pack_command(command))  # type: ignore[arg-type]  # its stub


async def test_a_link_that_is_let_go_ends_with_its_last_answer(redis_server: RedisServer) -> None:
    link = await opened_link(redis_server.path)
    waiting = link.send(packed("BLPOP", "retired", 30), 1)

    link.retire()

    with pytest.raises(NotSent):
        link.send(packed("PING"), 1)
    assert not link.lost.done()
    redis_server.ask("RPUSH", "retired", "x")
    assert await waiting == [[b"retired", b"x"]]
    await link.lost


async def test_an_answer_that_nobody_waits_for_ends_a_link_that_was_let_go(redis_server: RedisServer) -> None:
    late: list[str] = []
    link = await opened_link(redis_server.path, on_late=lambda: late.append("late"))
    link.send(packed("BLPOP", "given-up", 30), 1).cancel()

    link.retire()
    redis_server.ask("RPUSH", "given-up", "x")

    await link.lost
    assert late == []


async def test_who_says_what_nobody_asked_for_is_left(tmp_path: Path) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"+220 this is another service\r\n")
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(greet, tmp_path / "s")
    link = await opened_link(tmp_path / "s")

    async with asyncio.timeout(30):
        await link.lost
    server.close()


async def test_a_store_that_was_let_go_sends_nothing(redis_server: RedisServer) -> None:
    async with opened(settings(redis_server.path, socket_type="unix")) as store:
        await count(store, Charge("let-go", 1, 10, 100))

    outcome = await count(store, Charge("let-go", 1, 10, 100))

    assert str(outcome) == "Redis is being let go"
    assert redis_server.ask("GET", "let-go") == b"1"


async def test_only_messages_are_heard() -> None:
    heard: list[bytes] = []
    subscription = Subscription(opened_link, "c", heard.append, Bounds(1.0, 3, 0.1, 10))  # type: ignore[arg-type]

    for reply in ([b"message", b"c", b"key"], [b"unsubscribe", b"c", 0], b"OK"):
        subscription._take(reply)

    assert heard == [b"key"]


async def test_without_a_sentinel_that_answers_there_is_none() -> None:
    door = Door(settings("tokens,127.0.0.1:1,127.0.0.1:2", type="SENTINEL"))

    with pytest.raises(NotSent, match="no sentinel answers"):
        await door.open_sentinel(lambda: Link(1))


@pytest.mark.parametrize("is_answered", [True, False], ids=["is answered", "never is"])
async def test_a_node_is_let_go_once_what_is_under_way_was_answered_or_after_a_while(
    redis_server: RedisServer, *, is_answered: bool
) -> None:
    door = Door(settings(redis_server.path, socket_type="unix"))
    node = Node(door.open, Bounds(30.0, 3, 0.1, 10), CLOCK, RedisMetrics(Registry(), "pool"))
    command = Command(("BLPOP", "leaving", 30))
    asking = asyncio.create_task(node.send([command], CLOCK.steady() + 30))
    await until(lambda: asyncio.sleep(0, node.in_flight == 1))
    leaving = asyncio.create_task(_leave(node))
    await asyncio.sleep(0)
    is_kept = not leaving.done()
    if is_answered:
        redis_server.ask("RPUSH", "leaving", "x")
    await asyncio.gather(asking, leaving)

    assert is_kept
    assert (command.reply == [b"leaving", b"x"]) is is_answered
    assert not node.is_linked
