from __future__ import annotations

import asyncio

from serving.health import Health


def test_without_components_we_serve() -> None:
    assert Health().is_serving


def test_one_component_that_is_down_is_enough() -> None:
    health = Health()
    health.up("config")
    health.down("redis")

    assert not health.is_serving
    assert health.components == {"config": True, "redis": False}


def test_serving_again_when_the_last_one_is_up() -> None:
    health = Health()
    health.down("redis")
    health.up("redis")

    assert health.is_serving


async def test_who_watches_sees_the_present_and_every_change() -> None:
    health = Health()
    changes = health.changes()
    seen = [await anext(changes)]
    health.down("redis")
    seen.append(await anext(changes))
    health.up("redis")
    seen.append(await anext(changes))

    assert seen == [True, False, True]


async def test_who_watches_sleeps_until_the_answer_changes() -> None:
    health = Health()
    health.down("redis")
    changes = health.changes()
    await anext(changes)
    following = asyncio.ensure_future(anext(changes))
    health.down("config")
    await asyncio.sleep(0)
    is_asleep = not following.done()
    health.up("config")
    health.up("redis")

    assert is_asleep
    assert await following is True


async def test_closing_ends_every_watch() -> None:
    health = Health()

    async def watch() -> list[bool]:
        return [is_serving async for is_serving in health.changes()]

    watch_task = asyncio.create_task(watch())
    await asyncio.sleep(0)
    health.close()

    assert await watch_task == [True]
    assert await watch() == []
