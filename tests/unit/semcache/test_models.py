from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from semcache.backends import Phase, Progress
from semcache.embedder import Embedder, ModelIdentity
from semcache.errors import EmbedUnavailable, StoreRefused, StoreUnavailable
from semcache.migration.lineage import Find, Lineage
from semcache.models import Models
from semcache.namespaces import Namespace, Namespaces
from semcache.settings import MigrationSettings
from serving.metrics import Registry
from tests.fakes.caches import namespace
from tests.fakes.clock import FakeClock
from tests.fakes.embedder import DIMENSIONS, FakeEmbedder
from tests.fakes.store import FakeStore, FakeStores


class World:
    """Models `a` and `b`; any other name cannot be loaded."""

    def __init__(self, *members: Namespace, retry_seconds: float = 3600.0) -> None:
        self.stores = FakeStores()
        self.namespaces = Namespaces(members)
        self.made: list[FakeEmbedder] = []
        self.exports: dict[str, str] = {}
        self.models = Models(self._make, self._find, self._lineage, lambda: self.namespaces, 16, retry_seconds)

    async def _make(self, name: str) -> Embedder:
        if name not in {"", "a", "b"}:
            raise EmbedUnavailable(f"no model {name}")
        embedder = FakeEmbedder()
        embedder.identity = ModelIdentity(f"test/{name}", "r1", "fp32", DIMENSIONS)
        await embedder.start()
        self.made.append(embedder)
        return embedder

    async def _find(self, slug: str) -> Embedder | None:
        return await self._make(self.exports[slug]) if slug in self.exports else None

    def _lineage(self, name: str, find: Find) -> Lineage:
        return Lineage(name, self.stores, find, MigrationSettings(), FakeClock(), Registry())

    async def change(self, *members: Namespace) -> None:
        self.namespaces = Namespaces(members)
        self.models.follow()
        await until(self.is_settled)

    def is_settled(self) -> bool:
        working = self.models._working
        return working is None or working.done() or not (self.models._is_behind or self.models._news.is_set())


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0)


def names(models: Models, members: Sequence[Namespace]) -> list[str]:
    backends = [models.of(member) for member in members]
    return [backend.store.identity.name if backend else "none" for backend in backends]


A, B = namespace(name="one", model="a"), namespace(name="two", model="b")


async def test_each_namespace_has_the_model_that_it_names() -> None:
    world = World(A, B, namespace(name="three", model="a"))
    await world.models.start()

    assert names(world.models, world.namespaces.members) == ["test/a", "test/a", "test/b"]
    assert len(world.made) == 2
    await world.models.stop()


async def test_namespaces_of_one_model_share_what_stands_behind_them() -> None:
    world = World(A, namespace(name="three", model="a"))
    await world.models.start()

    first, second = (world.models.of(member) for member in world.namespaces.members)

    assert first is second
    await world.models.stop()


async def test_a_model_that_cannot_be_loaded_ends_the_start() -> None:
    with pytest.raises(EmbedUnavailable, match="no model c"):
        await World(namespace(model="c")).models.start()


class AwayStores(FakeStores):
    """Cannot be opened so many times."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    async def open(self, identity: ModelIdentity) -> FakeStore:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("away")
        return await super().open(identity)


async def test_a_store_that_is_away_in_the_beginning_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    world = World(A, B, retry_seconds=1e-6)
    world.stores = AwayStores(3)
    await world.models.start()
    before = names(world.models, [A, B])

    await until(lambda: names(world.models, [A, B]) == ["test/a", "test/b"])

    assert before == ["none", "none"]
    assert caplog.text.count("cannot be had: away") == 3
    await world.models.stop()


async def test_other_namespaces_do_not_wait_for_the_next_attempt() -> None:
    world = World(A, retry_seconds=3600)
    world.stores = AwayStores(1)
    await world.models.start()

    await world.change(A, B)

    assert names(world.models, [A, B]) == ["test/a", "test/b"]
    await world.models.stop()


async def test_a_new_namespace_is_taken_up_while_others_serve() -> None:
    world = World(A)
    await world.models.start()

    assert world.models.of(B) is None
    await world.change(A, B)

    assert names(world.models, [A, B]) == ["test/a", "test/b"]
    await world.models.stop()


async def test_a_model_that_cannot_be_loaded_later_leaves_its_namespace_alone(caplog: pytest.LogCaptureFixture) -> None:
    world = World(A)
    await world.models.start()

    await world.change(A, namespace(name="two", model="c"), namespace(name="zed", model="b"))

    assert names(world.models, world.namespaces.members) == ["test/a", "none", "test/b"]
    assert "two: its model `c` cannot be had: no model c" in caplog.text
    await world.models.stop()


async def test_a_namespace_that_is_gone_has_nothing_behind_it() -> None:
    world = World(A, B)
    await world.models.start()

    await world.change(B)

    assert names(world.models, [A, B]) == ["none", "test/b"]
    await world.models.stop()


async def test_another_model_takes_over_where_there_is_nothing_to_carry() -> None:
    world = World(A)
    await world.models.start()
    changed = namespace(name="one", model="b")

    await world.change(changed)
    await until(lambda: names(world.models, [changed]) == ["test/b"])

    assert world.models.progress(changed).phase is Phase.MOVED
    await world.models.stop()


async def test_a_namespace_whose_model_is_not_there_has_nothing_to_go_back_to() -> None:
    world = World(A)
    await world.models.start()

    with pytest.raises(StoreRefused, match="not loaded"):
        await world.models.roll_back(B)
    with pytest.raises(StoreRefused, match="no other model"):
        await world.models.roll_back(A)

    assert world.models.progress(B) == Progress(Phase.SETTLED)
    await world.models.stop()


async def test_models_are_let_go_at_the_end() -> None:
    world = World(A, B)
    await world.models.start()

    await world.models.stop()

    assert all(embedder.failure is not None for embedder in world.made)


async def found(world: World, slug: str) -> Embedder | None:
    """Ask for an older model as a lineage does."""
    return await world.models._find(slug)


async def test_an_older_model_is_one_that_serves_or_an_export_that_is_still_there() -> None:
    world = World(A)
    world.exports["test-b"] = "b"
    await world.models.start()

    serving, exported, lost = [await found(world, slug) for slug in (world.made[0].identity.slug, "test-b", "gone")]

    assert (serving, exported, lost) == (world.made[0], world.made[1], None)
    await world.models.stop()
    assert world.made[1].failure is not None


async def test_an_older_model_that_cannot_be_loaded_is_lost_and_said_so(caplog: pytest.LogCaptureFixture) -> None:
    world = World(A)
    world.exports["broken"] = "c"
    await world.models.start()

    assert await found(world, "broken") is None
    assert "broken cannot be loaded: no model c" in caplog.text
    await world.models.stop()
