"""A service that is killed between adding an answer and publishing it: the answer is not served, and is not in the way."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from semcache.answers import Outcome, Refusal
from semcache.entry import State
from semcache.settings import SweeperSettings
from semcache.store import Selector
from semcache.sweeper import Sweeper
from tests.fakes.caches import World, make_world
from tests.fakes.pending_writer import make_stores
from tests.fakes.qdrant_server import QdrantServer
from tests.fakes.store import FakeStores

ROOT = Path(__file__).parents[2]
PROMPT = "How do I reset my password?"
PENDING = Selector(state=State.PENDING)

pytestmark = [pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning")]


async def kill_before_publishing(where: str) -> None:
    command = [sys.executable, "-m", "tests.fakes.pending_writer", where, PROMPT]
    writer = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    assert writer.stdout is not None
    pids = (await writer.stdout.readline()).split()
    assert pids
    for pid in pids:
        os.kill(int(pid), signal.SIGKILL)
    assert await writer.wait() == -signal.SIGKILL


@pytest.fixture(params=["edge", "qdrant"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """A service that comes after one that was killed."""
    server = QdrantServer() if request.param == "qdrant" else None
    if server is not None:
        await server.start()
    where = str(server.port) if server else str(tmp_path / "s")
    await kill_before_publishing(where)
    stores = make_stores(where)
    await stores.start()
    yield await make_world(cast("FakeStores", stores))
    await stores.stop()
    if server is not None:
        await server.stop()


async def test_what_was_left_is_not_served_and_the_next_store_replaces_it(world: World) -> None:
    left = await world.store.count(PENDING)
    missed = await world.lookup(PROMPT)
    kept = await world.store_one(PROMPT)

    assert (left, missed.outcome, kept.refusal) == (1, Outcome.MISS, Refusal.NONE)
    assert (await world.lookup(PROMPT)).outcome is Outcome.EXACT
    assert await world.store.count(Selector()) == 1


async def test_what_was_left_goes_after_its_time(world: World) -> None:
    settings = SweeperSettings(pending_max=60)
    sweeper = Sweeper(world.stores, dict, settings, world.clock, world.registry)
    counts = []
    for seconds in (59, 1):
        world.clock.advance(seconds)
        await sweeper.sweep()
        counts.append(await world.store.count(PENDING))

    assert counts == [1, 0]
    assert world.value("swept", reason="abandoned") == 1
