"""Sweeping and purging with the real engine: what is on the disk, and lookups meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from semcache.embedder import ModelIdentity
from semcache.settings import EdgeSettings, SweeperSettings
from semcache.store import Question, Selector
from semcache.stores.edge.root import EdgeStores
from semcache.sweeper import Sweeper
from serving.metrics import Registry
from tests.fakes.clock import FakeClock
from tests.fakes.entries import MODEL, NOW, SCOPE, angle, row

OTHER_MODEL = ModelIdentity("test/other", "r1", "fp32", MODEL.dimensions)
SECRET = "xq7 zkw 93vj"


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[EdgeStores]:
    stores = EdgeStores(EdgeSettings(folder=str(tmp_path / "s")))
    await stores.start()
    yield stores
    await stores.stop()


def sweeper(stores: EdgeStores, **settings: float) -> Sweeper:
    return Sweeper(stores, dict, SweeperSettings(**settings), FakeClock(NOW), Registry())  # type: ignore[arg-type] # names of its fields


def files_with(folder: Path, text: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


async def test_a_purged_tenant_is_in_no_file_of_any_model(stores: EdgeStores, tmp_path: Path) -> None:
    for model in (MODEL, OTHER_MODEL):
        store = await stores.open(model)
        await store.add([row(SECRET, tenant="globex"), row("somebody else's")])
        await store.shard.call("flush")
    assert files_with(tmp_path, SECRET)

    gone = await sweeper(stores).purge(Selector(tenant="globex"))

    assert gone == (2, True)
    assert files_with(tmp_path, SECRET) == []
    assert files_with(tmp_path, "somebody else's")


async def test_a_purge_reaches_what_had_gone_before_it(stores: EdgeStores, tmp_path: Path) -> None:
    store = await stores.open(MODEL)
    await store.add([row(SECRET, tenant="globex", expires_at=NOW), row("somebody else's")])
    await sweeper(stores).sweep()
    await store.shard.call("flush")
    assert files_with(tmp_path, SECRET)

    gone = await sweeper(stores).purge(Selector(tenant="globex"))

    assert gone == (0, True)
    assert files_with(tmp_path, SECRET) == []


async def test_a_purge_that_nobody_waits_for_comes_to_its_end(stores: EdgeStores, tmp_path: Path) -> None:
    store = await stores.open(MODEL)
    await store.add([row(SECRET, tenant="globex"), *(row(f"p{number}") for number in range(100))])

    gone = await sweeper(stores, erase_wait=1e-6).purge(Selector(tenant="globex"))

    assert gone == (1, False)
    async with asyncio.timeout(100):
        while (tmp_path / "s" / "models" / MODEL.slug / "1").exists():  # noqa: ASYNC110 - a folder, of which nobody tells
            await asyncio.sleep(0.01)
    await stores.stop()
    assert files_with(tmp_path, SECRET) == []
    assert files_with(tmp_path, "answer to p99")


async def test_lookups_are_answered_while_much_is_swept(stores: EdgeStores) -> None:
    store = await stores.open(MODEL)
    await store.add([row(f"over {number}", number % 90, expires_at=NOW) for number in range(2000)])
    await store.add([row("lives", 45)])
    sweeping = asyncio.create_task(sweeper(stores, pause=0.0).sweep())
    left = []
    while not sweeping.done():
        ((found,),) = await store.nearest([Question(SCOPE, 0, angle(45))], NOW)
        assert found.prompt == "lives"
        left.append(await store.count(Selector()))
    await sweeping

    assert len(set(left)) > 5
    assert await store.count(Selector()) == 1
