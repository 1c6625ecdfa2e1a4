"""A Qdrant server that is away, slow, full or strange to us: what the store says, within which bound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from pydantic import SecretStr

from semcache.errors import ConfigError, StoreError, StoreRefused, StoreTimeout, StoreUnavailable
from semcache.invalidation import Moment, Noted
from semcache.settings import QdrantSettings
from semcache.store import Selector
from semcache.stores.qdrant.root import QdrantStores
from tests.fakes.certificates import issue, make_ca
from tests.fakes.entries import MODEL, NOW, row
from tests.fakes.qdrant_server import QdrantServer

KEY = "s3cret-key"

# What the client in process, which the server here is made of, says of itself.
pytestmark = [pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning")]


@pytest.fixture
async def server() -> AsyncIterator[QdrantServer]:
    server = QdrantServer()
    await server.start()
    yield server
    await server.stop()


def stores_at(server: QdrantServer, url: str = "http://127.0.0.1:6333", **fields: Any) -> QdrantStores:
    return QdrantStores(QdrantSettings(url=SecretStr(url), grpc_port=server.port, **fields))


@pytest.fixture
async def stores(server: QdrantServer) -> AsyncIterator[QdrantStores]:
    stores = stores_at(server, timeout=20.0)
    await stores.start()
    yield stores
    await stores.stop()


FAILURES = {
    "away": (grpc.StatusCode.UNAVAILABLE, StoreUnavailable),
    "late": (grpc.StatusCode.DEADLINE_EXCEEDED, StoreTimeout),
    "over its rate": (grpc.StatusCode.RESOURCE_EXHAUSTED, StoreRefused),
    "out of disk": (grpc.StatusCode.INTERNAL, StoreRefused),
}


@pytest.mark.parametrize(("code", "expected"), FAILURES.values(), ids=FAILURES.keys())
async def test_a_server_that_fails_is_told_in_our_words(
    server: QdrantServer, stores: QdrantStores, code: grpc.StatusCode, expected: type[StoreError]
) -> None:
    store = await stores.open(MODEL)
    server.failure, server.trailers = code, [("retry-after", "1")]

    with pytest.raises(expected):
        await store.add([row("p1")])

    server.failure = None
    assert await store.count(Selector()) == 0
    assert store.is_healthy


async def test_a_server_that_goes_away_is_not_healthy(server: QdrantServer, stores: QdrantStores) -> None:
    store = await stores.open(MODEL)
    await server.stop()

    with pytest.raises(StoreUnavailable):
        await store.count(Selector())

    assert not store.is_healthy


async def test_a_server_that_hangs_costs_a_call_its_timeout(server: QdrantServer) -> None:
    stores = stores_at(server, timeout=1.0)
    await stores.start()
    store = await stores.open(MODEL)
    server.held = True

    with pytest.raises(StoreTimeout):
        await store.count(Selector())

    await stores.stop()


async def test_calls_beyond_the_bound_fail_at_once(server: QdrantServer) -> None:
    stores = stores_at(server, calls_max=2)
    await stores.start()
    store = await stores.open(MODEL)
    server.held = True
    waiting = [asyncio.create_task(store.count(Selector())) for _ in range(2)]
    await asyncio.sleep(0)

    with pytest.raises(StoreUnavailable, match="2 calls"):
        await store.count(Selector())

    server.held = False
    server.released.set()
    assert await asyncio.gather(*waiting) == [0, 0]
    await stores.stop()


async def test_the_key_is_sent_with_every_call(server: QdrantServer) -> None:
    server.api_key = KEY
    stores = stores_at(server, api_key=SecretStr(KEY))
    await stores.start()

    store = await stores.open(MODEL)

    assert await store.count(Selector()) == 0
    await stores.stop()


async def test_a_wrong_key_is_refused_and_not_told(server: QdrantServer) -> None:
    server.api_key = KEY
    stores = stores_at(server, api_key=SecretStr("wrong-one"))

    with pytest.raises(StoreRefused, match="UNAUTHENTICATED") as caught:
        await stores.start()

    assert "wrong-one" not in str(caught.value)
    await stores.stop()


async def test_a_key_never_leaves_this_machine_without_tls(server: QdrantServer) -> None:
    stores = stores_at(server, "http://qdrant.example:6333", api_key=SecretStr(KEY))

    with pytest.raises(ConfigError, match="https"):
        await stores.start()

    assert server.calls == []


@pytest.mark.parametrize("is_known", [True, False])
async def test_tls_is_checked_against_the_ca_that_is_named(tmp_path: Path, is_known: bool) -> None:  # noqa: FBT001
    ca, other = make_ca(tmp_path), make_ca(tmp_path, "other")
    leaf = issue(ca, ["localhost"])
    credentials = grpc.ssl_server_credentials([(leaf.key.read_bytes(), leaf.certificate.read_bytes())])
    server = QdrantServer(KEY, credentials)
    await server.start()
    trusted = str((ca if is_known else other).path)
    stores = stores_at(server, "https://localhost:6333", api_key=SecretStr(KEY), tls_cacert=trusted)

    await stores.start()
    if not is_known:
        with pytest.raises(StoreUnavailable):
            await stores.open(MODEL)

    assert bool(server.calls) is is_known
    await stores.stop()
    await server.stop()


async def test_replicas_that_start_at_once_share_one_collection(server: QdrantServer) -> None:
    replicas = [stores_at(server) for _ in range(3)]
    await asyncio.gather(*(replica.start() for replica in replicas))
    first, *others = await asyncio.gather(*(replica.open(MODEL) for replica in replicas))

    await first.add([row("p1")])

    assert [await store.count(Selector()) for store in others] == [1, 1]
    for replica in replicas:
        await replica.stop()


async def test_a_collection_that_a_replica_left_without_indexes_gets_them(server: QdrantServer) -> None:
    dying, living = stores_at(server), stores_at(server)
    await dying.start()
    await dying.open(MODEL)
    name = f"weir_model_{MODEL.slug}"
    complete = set(server.indexed[name])
    server.indexed[name].clear()
    await living.start()

    await living.open(MODEL)

    assert server.indexed[name] == complete
    assert "scope" in complete
    await dying.stop()
    await living.stop()


async def test_an_epoch_never_goes_back_where_clocks_differ(server: QdrantServer) -> None:
    ahead, behind = stores_at(server), stores_at(server)
    await ahead.start()
    await behind.start()
    seen = asyncio.Event()

    async def read_early(namespaces: Any) -> Any:
        before = await QdrantStores.moments(behind, namespaces)
        behind.moments = lambda names: QdrantStores.moments(behind, names)  # type: ignore[method-assign]
        await seen.wait()
        return before

    behind.moments = read_early  # type: ignore[method-assign]
    late = asyncio.create_task(behind.advance_epoch("support", NOW - 60))
    high = await ahead.advance_epoch("support", NOW)
    seen.set()

    assert await late == high
    assert await ahead.moments(["support"]) == [Moment(high)]
    await ahead.stop()
    await behind.stop()


async def test_with_a_node_down_everything_goes_on(server: QdrantServer) -> None:
    stores = stores_at(server, replication_factor=2)
    await stores.start()
    server.lacks_a_node = True

    store = await stores.open(MODEL)
    await store.add([row("p1")])
    mark = await stores.invalidate("support", ["a subject"], NOW)
    epoch = await stores.advance_epoch("support", NOW)
    await stores.note("learned", "a name", "a text")

    assert await stores.moments(["support"]) == [Moment(epoch, mark)]
    assert await stores.invalidations("support", 0) == [Noted(mark, "a subject")]
    assert await stores.notes("learned") == {"a name": "a text"}
    assert await store.remove(Selector(namespace="support"), 10) == 1
    assert server.copies == {"weir_epochs": (2, 1), f"weir_model_{MODEL.slug}": (2, 1)}
    await stores.stop()


async def test_a_collection_that_was_made_under_other_settings_takes_the_new_ones(server: QdrantServer) -> None:
    before, after = stores_at(server, query_entries_max=2), stores_at(server, query_entries_max=50)
    await before.start()
    await (await before.open(MODEL)).add([row(f"p{number}") for number in range(20)])
    await after.start()

    store = await after.open(MODEL)

    assert len((await store.scan(Selector(), 50)).entries) == 20
    await before.stop()
    await after.stop()


async def test_a_server_that_comes_back_is_found_with_what_it_had(server: QdrantServer) -> None:
    stores = stores_at(server, timeout=5.0)
    await stores.start()
    store = await stores.open(MODEL)
    await store.add([row("p1")])
    await server.leave()
    with pytest.raises(StoreUnavailable):
        await store.count(Selector())
    await server.start()
    async with asyncio.timeout(50):
        while not store.is_healthy:
            with suppress(StoreUnavailable):
                await store.count(Selector())
            await asyncio.sleep(0.05)

    assert await store.count(Selector()) == 1
    await stores.stop()


async def test_a_server_that_makes_no_collections_ends_the_start(server: QdrantServer) -> None:
    stores = stores_at(server)
    create = server._create  # type: ignore[attr-defined]

    async def refuse(request: Any) -> Any:
        raise ValueError(f"no room for {request.collection_name}")

    server._create = refuse  # type: ignore[method-assign]

    with pytest.raises(StoreRefused, match="no room for"):
        await stores.start()

    server._create = create  # type: ignore[method-assign]
    await stores.start()
    await stores.stop()


async def test_no_more_invalidations_are_read_than_are_remembered(
    server: QdrantServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = stores_at(server, query_entries_max=1)
    await stores.start()
    await stores.invalidate("support", ["a", "b", "c"], NOW)
    monkeypatch.setattr("semcache.stores.qdrant.root.NOTED_MAX", 2)

    assert len(await stores.invalidations("support", 0)) == 2
    await stores.stop()


async def test_erasing_leaves_what_is_not_ours(server: QdrantServer) -> None:
    mine, theirs = stores_at(server), stores_at(server, collection_prefix="theirs_")
    for stores in (mine, theirs):
        await stores.start()
        await stores.open(MODEL)

    await mine.erase()

    left = {each.name for each in (await server._client.get_collections()).collections}
    assert left
    assert all(name.startswith("theirs_") for name in left)
    for stores in (mine, theirs):
        await stores.stop()
