"""A change of models with the real engine and the real model, int8 to fp32, cut off in the middle."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from semcache.backends import Phase
from semcache.embedder import Embedder
from semcache.embedders import model_folder as exports
from semcache.embedders.onnx import OnnxEmbedder
from semcache.entry import EmbeddedEntry
from semcache.errors import StoreUnavailable
from semcache.migration.lineage import Lineage
from semcache.settings import EdgeSettings, EmbedderSettings, MigrationSettings
from semcache.store import Question
from semcache.stores.edge.root import EdgeStores
from serving.clock import SystemClock
from serving.metrics import Registry
from tests.fakes.entries import NOW, SCOPE, entry
from tests.fakes.migrations import NAMESPACE, prompts_of
from tests.fakes.models import model_folder

PROMPTS = [
    f"how do I change the {thing} of my {owner}?" for thing in ("name", "colour", "address") for owner in range(20)
]
NEAR = "how can I change the colour of my 7?"


@dataclass
class House:
    stores: EdgeStores
    embedder: Embedder
    lineage: Lineage

    async def store(self, prompts: Sequence[str]) -> None:
        answering = self.lineage.answering
        vectors = (await answering.embedder.embed(prompts)).embeddings
        rows = [EmbeddedEntry(entry(prompt), vector) for prompt, vector in zip(prompts, vectors, strict=True)]
        await answering.store.add(rows)

    async def nearest(self, prompt: str) -> str:
        answering = self.lineage.answering
        (vector,) = (await answering.embedder.embed([prompt])).embeddings
        ((found, *_),) = await answering.store.nearest([Question(SCOPE, 0, vector, limit=1)], NOW)
        return found.prompt


async def loaded(folder: Path) -> OnnxEmbedder:
    embedder = OnnxEmbedder(folder, EmbedderSettings(), SystemClock())
    await embedder.start()
    return embedder


@asynccontextmanager
async def house(folder: Path, precision: str, **settings: Any) -> AsyncIterator[House]:
    """A service with a model of this precision, on what an earlier one left."""
    embedder, old = await loaded(model_folder(precision)), list[OnnxEmbedder]()

    async def find(slug: str) -> Embedder | None:
        path = exports.find(model_folder().parent, slug)
        if path is not None:
            old.append(await loaded(path))
        return old[-1] if path is not None else None

    stores = EdgeStores(EdgeSettings(folder=str(folder)))
    await stores.start()
    values = {"entries_per_second": 1e6, "retry_interval": 0.01, **settings}
    lineage = Lineage(NAMESPACE, stores, find, MigrationSettings(**values), SystemClock(), Registry())
    await lineage.start(embedder)
    try:
        yield House(stores, embedder, lineage)
    finally:
        await lineage.stop()
        await stores.stop()
        for each in (embedder, *old):
            await each.stop()


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(50):
        while not is_so():  # noqa: ASYNC110 - a state, of which nobody tells
            await asyncio.sleep(0.001)


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    async with house(tmp_path / "s", "int8") as before:
        await before.store(PROMPTS)
    return tmp_path / "s"


async def test_the_old_model_answers_while_the_new_one_is_filled_and_then_goes(folder: Path) -> None:
    async with house(folder, "fp32") as service:
        answering = service.lineage.answering
        seen = [(await service.nearest(NEAR), answering.embedder.identity.precision)]
        await until(lambda: service.lineage.progress.phase is Phase.MOVED)
        seen.append((await service.nearest(NEAR), service.lineage.answering.embedder.identity.precision))

        assert seen == [(PROMPTS[27], "int8"), (PROMPTS[27], "fp32")]
        assert await prompts_of(service.lineage.answering.store) == set(PROMPTS)

    async with house(folder, "fp32") as later:
        assert later.lineage.progress.phase is Phase.SETTLED
        assert await later.nearest(NEAR) == PROMPTS[27]


async def test_a_kill_in_the_middle_goes_on_where_it_was(folder: Path) -> None:
    async with house(folder, "fp32", batch_entries_max=4) as service:
        await until(lambda: service.lineage.progress.embedded >= 20)
        await service.lineage.stop()
        done = service.lineage.progress.embedded
        for store in service.stores._stores.values():
            os.kill(store.shard.pid, signal.SIGKILL)
    assert done < len(PROMPTS)

    async with house(folder, "fp32") as again:
        await until(lambda: again.lineage.progress.phase is Phase.MOVED)

        # The batch under way when it was killed may be there or not.
        assert len(PROMPTS) - done - 4 <= again.lineage.progress.embedded <= len(PROMPTS) - done
        assert await prompts_of(again.lineage.answering.store) == set(PROMPTS)


async def test_an_engine_that_dies_meanwhile_costs_an_attempt(folder: Path) -> None:
    async with house(folder, "fp32", batch_entries_max=4) as service:
        await until(lambda: service.lineage.progress.embedded >= 8)
        for store in service.stores._stores.values():
            os.kill(store.shard.pid, signal.SIGKILL)
        await until(lambda: service.lineage.progress.phase is Phase.MOVED)

        assert await prompts_of(service.lineage.answering.store) == set(PROMPTS)


async def test_a_roll_back_answers_at_once_with_what_came_since(folder: Path) -> None:
    async with house(folder, "fp32") as service:
        await until(lambda: service.lineage.progress.phase is Phase.MOVED)
        await service.store(["what is a colour?"])
        change = service.lineage._change
        assert change is not None
        await until(lambda: change.carrier.is_done)

        await service.lineage.roll_back()

        assert service.lineage.answering.embedder.identity.precision == "int8"
        assert await service.nearest("what's a colour?") == "what is a colour?"
        assert await service.nearest(NEAR) == PROMPTS[27]


async def test_the_old_entries_go_when_they_were_kept_long_enough(folder: Path) -> None:
    async with house(folder, "fp32", keep=0.0) as service:
        await until(lambda: service.lineage.progress.phase is Phase.SETTLED)

        assert set(await service.stores.models()) == {service.embedder.identity.slug}
        assert await service.nearest(NEAR) == PROMPTS[27]
        assert await prompts_of(service.lineage.answering.store) == set(PROMPTS)


async def test_one_folder_is_not_filled_by_two_services(folder: Path) -> None:
    async with house(folder, "fp32"):
        with pytest.raises(StoreUnavailable, match="another process"):
            async with house(folder, "fp32"):
                pass
